//! A server is replaced while it is paid: by a process that takes over its sockets and books, and by the service manager, which
//! keeps the sockets in between.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

mod support;

use support::hand::Hand;
use support::{Protocol, REQUEST_PRICE, World, amount, farebox, program, text, until};

/// What each payer adds to its deposit: more than it can spend in the test.
const MORE: u128 = 50_000_000;
/// Requests that each payer makes before, between and after the replacements.
const REQUESTS_MIN: u64 = 8;

fn set_server(world: &World, line: &str) {
    let config = fs::read_to_string(&world.config).expect("reads it");
    fs::write(&world.config, config.replacen("[server]\n", &format!("[server]\n{line}\n"), 1))
        .expect("writes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_replaced_twice_under_load_and_no_request_fails() {
    let mut world = World::start().await;
    world.stop_server().await;
    set_server(&world, "handover_socket = \"handover.sock\"");
    // As fast as it goes.
    let config = fs::read_to_string(&world.config).expect("reads it");
    fs::write(&world.config, format!("{config}[risk]\nvouchers_per_second_max = 0\n")).expect("writes it");
    // Nobody runs: it just starts.
    let server = tokio::task::spawn_blocking({
        let config = world.config.clone();
        move || program::Program::serve_with(&config, &["--take-over"], &[])
    });
    world.set_server(server.await.expect("it starts"));

    let is_over = Arc::new(AtomicBool::new(false));
    let mut loads = Vec::new();
    for (account, keeps_connections) in [(world.payer, true), (world.stranger, true), (world.operator, false)]
    {
        let hand = Hand::new(&world, &account);
        let hand = if keeps_connections { hand } else { hand.with_fresh_connections() };
        let opened = hand.open(&world, Protocol::V2).await;
        assert_eq!(hand.top_up(&opened, MORE).await.status, 204);
        let channel = opened.channel;
        let (done, is_over) = (Arc::new(AtomicU64::new(0)), Arc::clone(&is_over));
        let counted = Arc::clone(&done);
        let load = tokio::spawn(async move {
            let mut cumulative = REQUEST_PRICE;
            while !is_over.load(Ordering::Relaxed) {
                cumulative += REQUEST_PRICE;
                let answer = hand.pay(&opened, cumulative).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                counted.fetch_add(1, Ordering::Relaxed);
            }
            cumulative
        });
        loads.push((channel, done, load));
    }
    let go_on = async |what: &str| {
        let before: Vec<u64> = loads.iter().map(|(_, done, _)| done.load(Ordering::Relaxed)).collect();
        until(what, || async {
            let mut pairs = loads.iter().zip(&before);
            assert!(!loads.iter().any(|(_, _, load)| load.is_finished()), "a request failed");
            pairs
                .all(|((_, done, _), before)| done.load(Ordering::Relaxed) >= before + REQUESTS_MIN)
                .then_some(())
        })
        .await;
    };
    go_on("the load runs").await;
    for _ in 0..2 {
        world.replace_server().await;
        go_on("the load goes on").await;
    }
    is_over.store(true, Ordering::Relaxed);
    for (channel, _, load) in loads {
        let paid = load.await.expect("no request failed");
        let books = world.channel(channel).await.expect("in the books");
        assert_eq!((amount(&books, "spent"), amount(&books, "accepted")), (paid, paid), "{books}");
        assert_eq!(amount(&books, "reserved"), 0, "{books}");
    }
    world.stop_server().await;
    assert!(!world.config.with_file_name("handover.sock").exists(), "nobody can be asked any more");
    let check = program::run(&["check", "-c", world.config.to_str().expect("ASCII")]);
    assert!(check.status.success(), "{}", text(&check.stdout));
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
