//! `farebox serve` and `farebox channels`, run as programs before a node that knows no channels.

mod program;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use program::fake_chain::{Claims, FakeChain};
use program::{Ended, Running, command, end_of, farebox, get, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The first account of the well-known test mnemonic.
const SECRET: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PAYEE: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const CHAIN: Claims = Claims { clock_ahead_s: None, balance: 0, ..Claims::sound(31337) };

struct Folder {
    folder: TempDir,
    config: PathBuf,
}

impl Folder {
    fn new(rpc: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("farebox.toml");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nrealm = \"test\"\n\
             [upstream]\nurl = \"http://127.0.0.1:9\"\n[chain]\nrpc = [\"{rpc}\"]\nid = 31337\n\
             [payee]\naddress = \"{PAYEE}\"\ntoken = \"0x20c0000000000000000000000000000000000000\"\n\
             key_file = \"payee.key\"\n[[route]]\npath = \"/v1/*\"\namount = \"25\"\nunit = \"llm_token\"\n\
             meter = \"request\"\n[ledger]\nkind = \"rocksdb\"\npath = \"data\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let this = Self { folder, config };
        this.write_key(SECRET, 0o600);
        this
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> &str {
        self.config.to_str().unwrap()
    }

    fn write_key(&self, secret: &str, mode: u32) {
        let path = self.path().join("payee.key");
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn serve(&self) -> Result<Running, Ended> {
        Running::start(command(&["serve", "-c", self.config()]), self.path())
    }

    #[track_caller]
    fn refused(&self, code: i32, says: &str) {
        match self.serve() {
            Ok(running) => panic!("it serves: {}", running.log()),
            Err(ended) => {
                assert!(ended.stderr.contains(says), "{ended:?}");
                assert_eq!(ended.code, code, "{ended:?}");
            }
        }
    }
}

#[test]
fn a_server_starts_shows_itself_and_ends_in_order() {
    let chain = FakeChain::start(CHAIN);
    let folder = Folder::new(&chain.url);
    let server = folder.serve().unwrap_or_else(|ended| panic!("{ended:?}"));
    let (listen, admin) = (server.text("listen"), server.text("adminListen"));

    assert_eq!(get(admin, "/healthz"), (200, "ok\n".into()));
    until("the server is ready", || get(admin, "/readyz").0 == 200);
    let (status, problem) = get(listen, "/v1/x");
    assert_eq!(status, 402, "{problem}");
    let problem: Value = serde_json::from_str(&problem).unwrap();
    assert!(problem["type"].as_str().unwrap().ends_with("/payment-required"), "{problem}");
    assert_eq!(get(listen, "/nothing").0, 404);
    let (status, metrics) = get(admin, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("farebox_requests_total{class=\"4xx\"} 2"), "{metrics}");
    assert_eq!(get(admin, "/v1/channels"), (200, json!({ "channels": [], "next": null }).to_string()));

    // Beside the running server: the books can be read, and not be written.
    let list = farebox(&["channels", "-c", folder.config(), "--json"]);
    assert_eq!(list.code, 0, "{list:?}");
    assert_eq!(serde_json::from_str::<Value>(&list.stdout).unwrap(), json!({ "channels": [] }));
    let table = farebox(&["channels", "-c", folder.config()]);
    assert!(table.stdout.contains("0 channels"), "{table:?}");
    folder.refused(4, &format!("is in use by process {}", server.id()));

    let key = std::fs::metadata(folder.path().join("challenge.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let ended = server.end("TERM");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("the books are closed"), "{ended:?}");
    let again = folder.serve().unwrap_or_else(|ended| panic!("{ended:?}"));
    assert_eq!(again.end("INT").code, 0);
}

#[test]
fn books_that_know_the_chain_are_served_while_its_nodes_are_away() {
    let chain = FakeChain::start(CHAIN);
    let folder = Folder::new(&chain.url);
    let first = folder.serve().unwrap_or_else(|ended| panic!("{ended:?}"));
    let admin = first.text("adminListen").to_owned();
    until("the server is ready", || get(&admin, "/readyz").0 == 200);
    assert_eq!(first.end("TERM").code, 0);
    drop(chain);
    let server = folder.serve().unwrap_or_else(|ended| panic!("{ended:?}"));
    assert_eq!(get(server.text("listen"), "/v1/x").0, 402);
    let (status, body) = get(server.text("adminListen"), "/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"chain\""), "{body}");
    assert_eq!(server.end("TERM").code, 0);
}

#[test]
fn prices_and_limits_are_read_again_and_a_refused_file_changes_nothing() {
    let chain = FakeChain::start(CHAIN);
    let folder = Folder::new(&chain.url);
    let server = folder.serve().unwrap_or_else(|ended| panic!("{ended:?}"));
    let (listen, admin) = (server.text("listen").to_owned(), server.text("adminListen").to_owned());
    let first = std::fs::read_to_string(&folder.config).unwrap();
    assert_eq!((get(&listen, "/v1/x").0, get(&listen, "/v2/x").0), (402, 404));

    let more = first.replace("[[route]]", "[[route]]\npath = \"/v2/*\"\nfree = true\n[[route]]");
    std::fs::write(
        &folder.config,
        format!("{more}[risk]\ndeposit_min = \"7\"\n[books]\nretention_days = 1\n"),
    )
    .unwrap();
    server.signal("HUP");
    // The upstream is away: a free route is found, and answered with 502.
    until("the new route is there", || get(&listen, "/v2/x").0 == 502);
    until("what waits is named", || server.log().contains("comes with a restart"));
    assert!(server.log().contains("books"), "{}", server.log());

    for refused in
        [more.replace("path = \"/v1/*\"", "path = 5"), format!("{more}[risk]\nunsettled_total_max = \"9\"\n")]
    {
        let before = server.log().matches("is refused").count();
        std::fs::write(&folder.config, refused.replace("/v2/*", "/v3/*")).unwrap();
        server.signal("HUP");
        until("it is refused", || server.log().matches("is refused").count() > before);
        assert_eq!((get(&listen, "/v2/x").0, get(&listen, "/v3/x").0), (502, 404));
    }
    assert!(server.log().contains("unsettled_total_max counts over all channels"), "{}", server.log());
    let (_, metrics) = get(&admin, "/metrics");
    assert!(metrics.contains("farebox_reloads_total{result=\"refused\"} 2"), "{metrics}");
    assert_eq!(server.end("TERM").code, 0);
}

#[test]
fn the_service_manager_is_told() {
    let chain = FakeChain::start(CHAIN);
    let folder = Folder::new(&chain.url);
    let socket = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let told = || {
        let mut message = [0; 256];
        let bytes = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..bytes].to_vec()).unwrap()
    };
    let mut serve = command(&["serve", "-c", folder.config()]);
    serve.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let server = Running::start(serve, folder.path()).unwrap_or_else(|ended| panic!("{ended:?}"));
    assert!(told().starts_with("READY=1\n"));
    assert_eq!(get(server.text("adminListen"), "/healthz").0, 200);
    assert_eq!(server.end("TERM").code, 0);
    assert!(told().starts_with("STOPPING=1\n"));
}

#[test]
fn a_chain_that_is_not_as_configured_is_refused_at_start() {
    let other = FakeChain::start(Claims { chain_id: 4217, ..CHAIN });
    Folder::new(&other.url).refused(3, "found chain 4217, expected 31337");
    let empty = FakeChain::start(Claims { has_contracts: false, ..CHAIN });
    Folder::new(&empty.url)
        .refused(3, "escrow.v2: found no contract at 0x4d50500000000000000000000000000000000000");
    let away = Folder::new("http://127.0.0.1:9");
    away.refused(4, "chain.rpc: RPC endpoint ");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let chain = FakeChain::start(CHAIN);
    let folder = Folder::new(&chain.url);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut serve = command(&["serve", "-c", folder.config()]);
    serve.env("FAREBOX__SERVER__LISTEN", address.to_string());
    let ended = end_of(serve, b"");
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains(&format!("server.listen: cannot listen on {address}: ")), "{ended:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let chain = FakeChain::start(CHAIN);
    let folder = Folder::new(&chain.url);
    // An upstream that takes a request and never answers it.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut serve = command(&["serve", "-c", folder.config()]);
    serve
        .env("FAREBOX__SERVER__DRAIN_S", "3600")
        .env("FAREBOX__UPSTREAM__URL", format!("http://{}", upstream.local_addr().unwrap()))
        .env("FAREBOX__ROUTE__1__PATH", "/free")
        .env("FAREBOX__ROUTE__1__FREE", "true");
    let server = Running::start(serve, folder.path()).unwrap_or_else(|ended| panic!("{ended:?}"));
    let mut waiting = TcpStream::connect(server.text("listen")).unwrap();
    waiting.write_all(b"GET /free HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let _taken = upstream.accept().unwrap();
    server.signal("TERM");
    until("it stops taking requests", || server.log().contains("stopping"));
    let ended = server.end("INT");
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(ended.stderr.contains("a second signal"), "{ended:?}");
    // The journal makes that safe.
    assert_eq!(folder.serve().unwrap_or_else(|ended| panic!("{ended:?}")).end("TERM").code, 0);
}

#[test]
fn check_config_tells_about_files_and_keys_and_makes_nothing() {
    let folder = Folder::new("http://127.0.0.1:9");
    let check = || farebox(&["serve", "-c", folder.config(), "--check-config"]);
    let good = check();
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains(&format!("ok; claims are signed by {PAYEE}")), "{good:?}");
    assert!(!folder.path().join("challenge.key").exists() && !folder.path().join("data").exists());

    folder.write_key(SECRET, 0o644);
    let open = check();
    assert_eq!(open.code, 3, "{open:?}");
    assert!(
        open.stderr.contains("payee.key_file: ") && open.stderr.contains("found mode 0644, expected 0600"),
        "{open:?}"
    );
    folder.write_key(&SECRET.replace("ac09", "ac08"), 0o600);
    let stranger = check();
    assert_eq!(stranger.code, 3, "{stranger:?}");
    assert!(stranger.stderr.to_lowercase().contains(&format!("expected the key of {PAYEE}")), "{stranger:?}");
    folder.write_key(SECRET, 0o600);

    let mut wrong = command(&["serve", "-c", folder.config(), "--check-config"]);
    wrong.env("FAREBOX__ROUTE__0__AMOUNT", "0").env("FAREBOX__SERVER__LISTN", "x");
    let wrong = end_of(wrong, b"");
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(wrong.stderr.contains("server.listn: found an unknown key"), "{wrong:?}");
    let absent = farebox(&["serve", "-c", "/nonexistent.toml", "--check-config"]);
    assert_eq!(absent.code, 3, "{absent:?}");
}

#[test]
fn a_payee_key_in_the_environment_wins_over_the_file() {
    let folder = Folder::new("http://127.0.0.1:9");
    let check = |secret: &str| {
        let mut check = command(&["serve", "-c", folder.config(), "--check-config"]);
        check.env("FAREBOX_PAYEE_KEY", secret);
        end_of(check, b"")
    };
    std::fs::remove_file(folder.path().join("payee.key")).unwrap();
    let good = check(SECRET);
    assert!(good.code == 0 && good.stdout.contains(&format!("ok; claims are signed by {PAYEE}")), "{good:?}");
    folder.write_key(SECRET, 0o600);
    let other = SECRET.replace("ac09", "ac08");
    let stranger = check(&other);
    assert_eq!(stranger.code, 3, "{stranger:?}");
    let said = stranger.stderr.to_lowercase();
    assert!(said.contains("farebox_payee_key: found the key of 0x"), "{stranger:?}");
    assert!(said.contains(&format!("expected the key of {PAYEE}")) && !said.contains(&other[2..]), "{said}");
    let none = check("payee");
    assert_eq!(none.code, 3, "{none:?}");
    assert!(none.stderr.contains("FAREBOX_PAYEE_KEY: found 5 characters, expected 32 bytes"), "{none:?}");
}

#[test]
fn no_secret_reaches_the_logs() {
    let chain = FakeChain::start(CHAIN);
    let rpc = format!("{}/s3cret-path?key=s3cret-key", chain.url);
    let folder = Folder::new(&rpc);
    let mut serve = command(&["serve", "-c", folder.config()]);
    serve.env("FAREBOX_LOG", "trace").env("FAREBOX_LOG_FORMAT", "json");
    let server = Running::start(serve, folder.path()).unwrap_or_else(|ended| panic!("{ended:?}"));
    let admin = server.text("adminListen").to_owned();
    until("the server is ready", || get(&admin, "/readyz").0 == 200);
    assert_eq!(get(server.text("listen"), "/v1/x").0, 402);
    let challenge_key = std::fs::read_to_string(folder.path().join("challenge.key")).unwrap();
    let log = server.end("TERM").stderr;
    let first = log.lines().next().unwrap();
    assert!(serde_json::from_str::<Value>(first).unwrap()["level"].is_string(), "{first}");
    for secret in [SECRET, &SECRET.to_uppercase(), challenge_key.trim()] {
        assert!(!log.contains(secret), "a key is in the log");
    }
    // What libraries say below our own level is theirs; ours never names more than the host.
    let ours = log.lines().filter(|line| !line.contains("\"TRACE\"") && !line.contains("\"DEBUG\""));
    assert!(ours.into_iter().all(|line| !line.contains("s3cret")), "an access key is in the log");
}

#[test]
fn channels_needs_a_ledger() {
    let folder = Folder::new("http://127.0.0.1:9");
    let ended = farebox(&["channels", "-c", folder.config()]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains("there is no ledger at "), "{ended:?}");
}

#[test]
fn help_names_the_exit_codes_and_the_version_is_told() {
    for arguments in [&["--help"][..], &["serve", "--help"]] {
        let help = farebox(arguments);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("Exit codes:"), "{help:?}");
    }
    assert_eq!(farebox(&["--version"]).stdout, format!("farebox {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(farebox(&["serve"]).code, 2);
    assert_eq!(farebox(&["nonsense"]).code, 2);
}
