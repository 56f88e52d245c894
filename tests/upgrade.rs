//! A server is replaced while it is paid: by a process that takes over its sockets and books, behind a balancer of connections, and by
//! the service manager, which keeps the sockets in between.
//!
//! The first two begin with the program that `FAREBOX_OLD_BIN` names (`make test-upgrade` builds older versions), or with this one.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

mod support;

use support::balancer::Balancer;
use support::hand::Hand;
use support::loads::Loads;
use support::{Protocol, World, farebox, old_farebox, program, text};

fn set_server(world: &World, line: &str) {
    let config = fs::read_to_string(&world.config).expect("reads it");
    fs::write(&world.config, config.replacen("[server]\n", &format!("[server]\n{line}\n"), 1))
        .expect("writes it");
}

/// Payers may be as fast as they can.
fn without_pace(world: &World) {
    let config = fs::read_to_string(&world.config).expect("reads it");
    fs::write(&world.config, format!("{config}[risk]\nvouchers_per_second_max = 0\n")).expect("writes it");
}

/// Starts the version that is to be upgraded, on books of its own making.
async fn start_old(world: &mut World, arguments: &'static [&str]) {
    // The world's first server made them, in the format of this version.
    fs::remove_dir_all(world.config.with_file_name("farebox-data")).expect("forgets the books");
    let config = world.config.clone();
    let server = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(old_farebox());
        command.args(["serve", "-c"]).arg(config).args(arguments).stdin(Stdio::null());
        program::Program::of(command)
    });
    world.set_server(server.await.expect("it starts"));
}

fn assert_checked(world: &World) {
    let check = program::run(&["check", "-c", world.config.to_str().expect("ASCII")]);
    assert!(check.status.success(), "{}", text(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_replaced_twice_under_load_and_no_request_fails() {
    let mut world = World::start().await;
    world.stop_server().await;
    set_server(&world, "handover_socket = \"handover.sock\"");
    without_pace(&world);
    // Nobody runs: it just starts.
    start_old(&mut world, &["--take-over"]).await;

    let mut loads = Loads::default();
    loads.add(&world, Hand::new(&world, &world.payer)).await;
    loads.add(&world, Hand::new(&world, &world.stranger)).await;
    loads.add(&world, Hand::new(&world, &world.operator).with_fresh_connections()).await;
    loads.go_on("the load runs").await;
    for _ in 0..2 {
        world.replace_server().await;
        loads.go_on("the load goes on").await;
    }
    loads.end(&world).await;
    world.stop_server().await;
    assert!(!world.config.with_file_name("handover.sock").exists(), "nobody can be asked any more");
    assert_checked(&world);
}

/// For versions that cannot hand over their sockets: the balancer in front of them waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_balancer_is_upgraded_under_load_and_no_request_fails() {
    let mut world = World::start().await;
    world.stop_server().await;
    without_pace(&world);
    start_old(&mut world, &[]).await;
    let balancer = Balancer::start(world.server().listen).await;

    let mut loads = Loads::default();
    for account in [world.payer, world.stranger] {
        let hand = Hand::new(&world, &account).by_way_of(balancer.address).with_fresh_connections();
        loads.add(&world, hand).await;
    }
    loads.go_on("the load runs").await;
    for _ in 0..2 {
        balancer.hold().await;
        world.stop_server().await;
        world.start_server();
        balancer.send_to(world.server().listen);
        loads.go_on("the load goes on").await;
    }
    loads.end(&world).await;
    world.stop_server().await;
    assert_checked(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_start_stops_nobody() {
    let mut world = World::start().await;
    let config = world.config.to_str().expect("ASCII").to_owned();
    let take_over = || program::run(&["serve", "-c", &config, "--take-over"]);
    let refused = take_over();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(text(&refused.stderr).contains("server.handover_socket: found nothing"), "{refused:?}");
    world.stop_server().await;
    set_server(&world, "handover_socket = \"handover.sock\"");
    world.start_server();
    // The next version's key file is missing.
    let good = fs::read_to_string(&config).expect("reads it");
    fs::write(&config, good.replace("payee.key", "other.key")).expect("writes it");
    assert_eq!(take_over().status.code(), Some(3));
    fs::write(&config, good).expect("writes it");
    let opened = Hand::new(&world, &world.payer).open(&world, Protocol::V2).await;
    assert!(world.channel(opened.channel).await.is_some(), "the first one serves");
    world.replace_server().await;
    assert!(world.channel(opened.channel).await.is_some(), "the next one has its books");
    world.stop_server().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_while_the_service_restarts_waits_in_the_managers_socket() {
    let mut world = World::start().await;
    world.stop_server().await;
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("its address");
    let config = fs::read_to_string(&world.config).expect("reads it");
    let config = config.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\""), 1);
    fs::write(&world.config, &config).expect("writes it");
    // As systemd does: the socket is descriptor 3.
    let start = |world: &World| {
        let mut command = Command::new("sh");
        let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" serve -c \"$1\"";
        command.args(["-c", script]).arg(farebox()).arg(&world.config);
        let socket = OwnedFd::from(socket.try_clone().expect("a duplicate"));
        command.stdin(Stdio::from(socket));
        command
    };
    let ask = || {
        let mut stream = TcpStream::connect(address).expect("the socket is open all the time");
        stream.write_all(b"GET /v1/quote HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sends");
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    };
    for _ in 0..2 {
        // Nobody runs: it waits.
        let waiting = ask();
        world.set_server(program::Program::of(start(&world)));
        assert_eq!(world.server().listen, address);
        assert!(answer(waiting).starts_with("HTTP/1.1 402 "));
        assert!(answer(ask()).starts_with("HTTP/1.1 402 "));
        world.stop_server().await;
    }
    fs::write(&world.config, config.replacen(&address.to_string(), "127.0.0.1:0", 1)).expect("writes it");
    let refused = start(&world).output().expect("runs");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let says = format!("gave a socket that listens on {address}");
    assert!(text(&refused.stderr).contains(&says), "{refused:?}");
}
