//! `farebox doctor` on a set-up that is sound, and on others that are each broken in one way: what is wrong is found, by
//! name, with what to do, and nothing else is.

mod program;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use farebox::core::channel::{ChainPosition, Identity, Terms};
use farebox::core::units::{Address, Amount, B256, ChainId};
use farebox::core::voucher::v2::Descriptor;
use farebox::{Config, Engine, RocksLedger, SystemClock};
use program::fake_chain::{Claims, FakeChain};
use program::{Running, command, end_of, farebox};
use serde_json::Value;
use tempfile::TempDir;

/// The first account of the well-known test mnemonic.
const SECRET: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PAYEE: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const CHAIN_ID: u64 = 31337;

/// A set-up in a folder of its own; a test breaks one thing of it.
struct Setup {
    folder: TempDir,
    chain: FakeChain,
    upstream: Option<TcpListener>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    /// What must live as long as the doctor looks.
    kept: Vec<Box<dyn std::any::Any>>,
}

impl Setup {
    fn new() -> Self {
        let chain = FakeChain::start(Claims::sound(CHAIN_ID));
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nrealm = \"test\"\n\
             [upstream]\nurl = \"http://{}\"\n[chain]\nrpc = [\"{}\"]\nid = {CHAIN_ID}\n\
             [payee]\naddress = \"{PAYEE}\"\ntoken = \"0x20c0000000000000000000000000000000000000\"\n\
             key_file = \"payee.key\"\n[[route]]\npath = \"/v1/*\"\namount = \"25\"\nunit = \"llm_token\"\n\
             meter = \"request\"\nsuggested_deposit = \"10000\"\n[ledger]\nkind = \"rocksdb\"\npath = \"data\"\n\
             [limits]\nconnections_max = 16\nresident_bytes_max = 16777216\nsigner_tables_bytes_max = 16777216\n",
            upstream.local_addr().unwrap(),
            chain.url,
        );
        let this = Self {
            folder,
            chain,
            upstream: Some(upstream),
            variables: Vec::new(),
            arguments: Vec::new(),
            kept: Vec::new(),
        };
        fs::write(this.config(), text).unwrap();
        this.write_secret("payee.key", SECRET, 0o600);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("farebox.toml")
    }

    fn write_secret(&self, name: &str, secret: &str, mode: u32) {
        fs::write(self.path(name), secret).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn set(&mut self, key: &str, value: impl ToString) {
        let name = format!("FAREBOX__{}", key.to_uppercase().replace('.', "__"));
        self.variables.push((name, value.to_string()));
    }

    /// The store's own value of its version.
    fn set_store_version(&self, version: u32) {
        drop(RocksLedger::open(self.path("data")).unwrap());
        let options = rocksdb::Options::default();
        let names = rocksdb::DB::list_cf(&options, self.path("data")).unwrap();
        let store = rocksdb::DB::open_cf(&options, self.path("data"), names).unwrap();
        store.put_cf(store.cf_handle("meta").unwrap(), b"store_version", version.to_le_bytes()).unwrap();
    }

    /// Books with one channel.
    fn make_books(&self, chain_id: u64, payee: &str) {
        let terms = Descriptor {
            payer: Address::repeat_byte(1),
            payee: payee.parse().unwrap(),
            operator: Address::ZERO,
            token: Address::repeat_byte(3),
            salt: B256::ZERO,
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        let identity = Identity {
            chain_id: ChainId(chain_id),
            escrow: Address::repeat_byte(5),
            terms: Terms::V2(terms),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ledger = RocksLedger::open(self.path("data")).unwrap();
            let engine = Engine::start(Config::default(), ledger, SystemClock).unwrap();
            let opened = engine.open(identity, Amount::new(9), Amount::ZERO, ChainPosition::default());
            opened.await.unwrap().accepted().unwrap();
            engine.shutdown().await.unwrap();
        });
    }

    fn doctor(&self, json: bool) -> program::Ended {
        let mut doctor = command(&["doctor", "-c", self.config().to_str().unwrap()]);
        doctor.args(&self.arguments);
        if json {
            doctor.arg("--json");
        }
        doctor.envs(self.variables.iter().map(|(name, value)| (name, value)));
        end_of(doctor, b"")
    }
}

/// What a broken set-up must be told.
struct Broken {
    name: &'static str,
    make: fn(&mut Setup),
    check: &'static str,
    level: &'static str,
    found: &'static str,
    fix: &'static str,
}

const BROKEN: &[Broken] = &[
    Broken {
        name: "no configuration",
        make: |setup| fs::remove_file(setup.config()).unwrap(),
        check: "config",
        level: "error",
        found: "cannot be read",
        fix: "copy farebox.example.toml",
    },
    Broken {
        name: "a configuration that is no TOML",
        make: |setup| fs::write(setup.config(), "[server\nlisten = 1").unwrap(),
        check: "config",
        level: "error",
        found: "is no TOML",
        fix: "repair the file",
    },
    Broken {
        name: "a key that nobody knows",
        make: |setup| setup.set("server.listn", "x"),
        check: "config",
        level: "error",
        found: "server.listn is an unknown key",
        fix: "one of listen",
    },
    Broken {
        name: "a price of nothing",
        make: |setup| setup.set("route.0.amount", 0),
        check: "config",
        level: "error",
        found: "FAREBOX__ROUTE__0__AMOUNT",
        fix: "set route[0].amount to an amount in base units above 0",
    },
    Broken {
        name: "a configuration that everybody may write",
        make: |setup| fs::set_permissions(setup.config(), Permissions::from_mode(0o666)).unwrap(),
        check: "config.mode",
        level: "warning",
        found: "0666",
        fix: "chmod go-w",
    },
    Broken {
        name: "an advised deposit that is refused",
        make: |setup| setup.set("risk.deposit_min", 10_001),
        check: "config.deposit",
        level: "warning",
        found: "who follows it is refused",
        fix: "lower risk.deposit_min",
    },
    Broken {
        name: "no payee key",
        make: |setup| fs::remove_file(setup.path("payee.key")).unwrap(),
        check: "keys.payee",
        level: "error",
        found: "No such file",
        fix: "install -m 600",
    },
    Broken {
        name: "a payee key that others may read",
        make: |setup| setup.write_secret("payee.key", SECRET, 0o640),
        check: "keys.payee",
        level: "error",
        found: "found mode 0640, expected 0600",
        fix: "chmod 600",
    },
    Broken {
        name: "somebody else's key",
        make: |setup| setup.write_secret("payee.key", &SECRET.replace("ac09", "ac08"), 0o600),
        check: "keys.payee",
        level: "error",
        found: "expected the key of",
        fix: "correct payee.address",
    },
    Broken {
        name: "half a key",
        make: |setup| setup.write_secret("payee.key", &SECRET[..32], 0o600),
        check: "keys.payee",
        level: "error",
        found: "32 characters",
        fix: "64 hex digits",
    },
    Broken {
        name: "a challenge key that others may read",
        make: |setup| setup.write_secret("challenge.key", SECRET, 0o644),
        check: "keys.challenge",
        level: "error",
        found: "found mode 0644",
        fix: "chmod 600",
    },
    Broken {
        name: "a certificate that is none",
        make: |setup| {
            setup.write_secret("cert.pem", "no certificate", 0o600);
            setup.write_secret("key.pem", "no key", 0o600);
            setup.set("server.tls_cert_file", "cert.pem");
            setup.set("server.tls_key_file", "key.pem");
        },
        check: "tls",
        level: "error",
        found: "pem",
        fix: "PEM",
    },
    Broken {
        name: "a sponsor without a key",
        make: |setup| setup.set("sponsor.key_file", "sponsor.key"),
        check: "keys.sponsor",
        level: "error",
        found: "No such file",
        fix: "install -m 600",
    },
    Broken {
        name: "a webhook without a key",
        make: |setup| {
            setup.set("webhook.url", "http://127.0.0.1:9/money");
            setup.set("webhook.key_file", "webhook.key");
        },
        check: "keys.webhook",
        level: "error",
        found: "No such file",
        fix: "install -m 600",
    },
    Broken {
        name: "a backend that is none",
        make: |setup| setup.variables.push(("FAREBOX_BACKEND".into(), "neon".into())),
        check: "cpu.backend",
        level: "error",
        found: "FAREBOX_BACKEND is \"neon\"",
        fix: "unset FAREBOX_BACKEND",
    },
    Broken {
        name: "more connections than files",
        make: |setup| setup.set("limits.connections_max", 1_000_000),
        check: "limits.descriptors",
        level: "warning",
        found: "need 2000768",
        fix: "LimitNOFILE=2000768",
    },
    Broken {
        name: "more memory than there is",
        make: |setup| setup.set("limits.resident_bytes_max", 1_u64 << 40),
        check: "memory",
        level: "warning",
        found: "may grow to",
        fix: "limits.resident_bytes_max",
    },
    Broken {
        name: "a full disk",
        make: |setup| setup.arguments.extend(["--free-bytes-min".into(), (1_u64 << 60).to_string()]),
        check: "disk.space",
        level: "error",
        found: "full, the server stops",
        fix: "free some space",
    },
    Broken {
        name: "a slow disk",
        make: |setup| {
            let library = setup.path("slow_sync.so");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/src/bin/books/slow_sync.c");
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
            assert!(compiler.status().unwrap().success());
            setup.variables.push(("LD_PRELOAD".into(), library.to_str().unwrap().into()));
            setup.variables.push(("FAREBOX_SYNC_US".into(), "150000".into()));
            setup.arguments.extend(["--sync-us-max".into(), "100000".into()]);
        },
        check: "disk.sync",
        level: "warning",
        found: "(p99)",
        fix: "SSD",
    },
    Broken {
        name: "books below a file",
        make: |setup| {
            fs::write(setup.path("file"), "").unwrap();
            setup.set("ledger.path", "file/data");
        },
        check: "disk.folder",
        level: "error",
        found: "is a file",
        fix: "ledger.path",
    },
    Broken {
        name: "books in memory",
        make: |setup| {
            setup.set("ledger.kind", "memory");
            setup.set("ledger.allow_volatile", true);
        },
        check: "books",
        level: "warning",
        found: "are lost",
        fix: "\"rocksdb\"",
    },
    Broken {
        name: "books of a newer program",
        make: |setup| setup.set_store_version(4_000),
        check: "books",
        level: "error",
        found: "store version Some(4000)",
        fix: "a newer Farebox wrote",
    },
    Broken {
        name: "books in an old format",
        make: |setup| setup.set_store_version(2),
        check: "books.version",
        level: "warning",
        found: "the store has version 2",
        fix: "farebox backup",
    },
    Broken {
        name: "books whose beginning is gone",
        make: |setup| {
            setup.make_books(CHAIN_ID, PAYEE);
            fs::remove_file(setup.path("data/CURRENT")).unwrap();
        },
        check: "books",
        level: "error",
        found: "CURRENT",
        fix: "farebox restore",
    },
    Broken {
        name: "a backup that nobody compared with the chain",
        make: |setup| {
            setup.make_books(CHAIN_ID, PAYEE);
            fs::write(setup.path("data/farebox.restored"), "").unwrap();
        },
        check: "books",
        level: "error",
        found: "not compared with the chain",
        fix: "--reconcile",
    },
    Broken {
        name: "books of another chain",
        make: |setup| setup.make_books(4217, PAYEE),
        check: "books.owner",
        level: "error",
        found: "of chain 4217, chain.id is 31337",
        fix: "correct chain.id",
    },
    Broken {
        name: "books of another payee",
        make: |setup| setup.make_books(CHAIN_ID, "0x1111111111111111111111111111111111111111"),
        check: "books.owner",
        level: "error",
        found: "it cannot be claimed",
        fix: "until its channels are closed",
    },
    Broken {
        name: "a port that is taken",
        make: |setup| {
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            setup.set("server.listen", taken.local_addr().unwrap());
            setup.kept.push(Box::new(taken));
        },
        check: "listen",
        level: "error",
        found: "is taken by another program",
        fix: "ss -ltnp",
    },
    Broken {
        name: "an address of another machine",
        make: |setup| {
            setup.set("server.listen", "192.0.2.1:8402");
            setup.set("server.allow_plain_http", true);
        },
        check: "listen",
        level: "error",
        found: "is no address of this machine",
        fix: "ip address",
    },
    Broken {
        name: "an admin port for everybody",
        make: |setup| setup.set("server.admin_listen", "0.0.0.0:0"),
        check: "listen.admin",
        level: "warning",
        found: "reachable from other machines",
        fix: "127.0.0.1",
    },
    Broken {
        name: "an upstream that is away",
        make: |setup| drop(setup.upstream.take()),
        check: "upstream",
        level: "error",
        found: "does not answer",
        fix: "start the upstream",
    },
    Broken {
        name: "a node that is away",
        make: |setup| setup.set("chain.rpc", "[\"http://127.0.0.1:9/s3cret\"]"),
        check: "chain.rpc",
        level: "error",
        found: "gave no answer",
        fix: "start the node",
    },
    Broken {
        name: "a node of another chain",
        make: |setup| setup.chain = FakeChain::start(Claims::sound(4217)),
        check: "chain.id",
        level: "error",
        found: "serves chain 4217, expected 31337",
        fix: "correct chain.id",
    },
    Broken {
        name: "a clock that is behind",
        make: |setup| {
            setup.chain = FakeChain::start(Claims { clock_ahead_s: Some(120), ..Claims::sound(CHAIN_ID) });
        },
        check: "clock",
        level: "error",
        found: "s behind the newest block",
        fix: "timedatectl",
    },
    Broken {
        name: "a node that is stuck",
        make: |setup| {
            setup.chain = FakeChain::start(Claims { clock_ahead_s: Some(-3_600), ..Claims::sound(CHAIN_ID) });
        },
        check: "clock",
        level: "error",
        found: "the node does not follow the chain",
        fix: "take another",
    },
    Broken {
        name: "no escrow",
        make: |setup| {
            setup.chain = FakeChain::start(Claims { has_contracts: false, ..Claims::sound(CHAIN_ID) });
        },
        check: "escrow",
        level: "error",
        found: "found no contract at 0x4d50500000000000000000000000000000000000",
        fix: "correct the address",
    },
    Broken {
        name: "nothing to pay fees with",
        make: |setup| setup.chain = FakeChain::start(Claims { balance: 0, ..Claims::sound(CHAIN_ID) }),
        check: "fees",
        level: "warning",
        found: "holds nothing",
        fix: "send it some",
    },
];

/// What the machine that runs the tests is, not what a test makes of it.
const OF_THE_MACHINE: [&str; 5] = ["cpu.backend", "memory.pages", "disk.kind", "disk.sync", "disk.space"];

fn findings(answer: &Value) -> Vec<&Value> {
    answer["findings"].as_array().unwrap().iter().collect()
}

fn is_trouble(finding: &Value) -> bool {
    finding["level"] == "error" || finding["level"] == "warning"
}

#[test]
fn a_sound_set_up_is_left_alone() {
    let setup = Setup::new();
    let ended = setup.doctor(true);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    for finding in findings(&answer) {
        let is_ours = !OF_THE_MACHINE.contains(&finding["check"].as_str().unwrap());
        assert!(!(is_ours && is_trouble(finding)), "{finding}");
        assert_eq!(finding["fix"].is_null(), finding["level"] == "ok", "{finding}");
    }
    let text = setup.doctor(false);
    assert!(
        text.stdout.contains("     ok  keys.payee: ") && text.stdout.contains(" checks, 0 errors, "),
        "{text:?}"
    );
    let mut left: Vec<_> =
        fs::read_dir(setup.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["farebox.toml", "payee.key"], "it leaves nothing behind");
}

#[test]
fn what_is_broken_is_found_and_explained() {
    const { assert!(BROKEN.len() >= 20) };
    let mut troubles = Vec::new();
    for Broken { name, make, check, level, found, fix } in BROKEN {
        let mut setup = Setup::new();
        let before = setup.chain.url.clone();
        make(&mut setup);
        if setup.chain.url != before {
            let url = format!("[\"{}\"]", setup.chain.url);
            setup.set("chain.rpc", url);
        }
        let ended = setup.doctor(true);
        let answer: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{name}: {ended:?}"));
        let told = findings(&answer).into_iter().any(|finding| {
            let holds =
                |key: &str, text: &str| finding[key].as_str().is_some_and(|found| found.contains(text));
            finding["check"] == *check
                && finding["level"] == *level
                && holds("found", found)
                && holds("fix", fix)
        });
        if !told {
            troubles.push(format!("{name}: {answer:#}"));
            continue;
        }
        for other in findings(&answer).into_iter().filter(|finding| is_trouble(finding)) {
            let named = other["check"].as_str().unwrap();
            if named != *check && !OF_THE_MACHINE.contains(&named) {
                troubles.push(format!("{name}: this is told as well: {other}"));
            }
        }
        let errors = findings(&answer).into_iter().filter(|finding| finding["level"] == "error").count();
        assert_eq!(ended.code, i32::from(errors > 0), "{name}: {ended:?}");
        assert_eq!(answer["errors"], errors, "{name}");
        assert!(!ended.stdout.contains("s3cret") && !ended.stdout.contains(SECRET), "{name}: {ended:?}");
    }
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
}

#[test]
fn a_running_server_is_noticed_and_not_disturbed() {
    let mut setup = Setup::new();
    let serve = command(&["serve", "-c", setup.config().to_str().unwrap()]);
    let server = Running::start(serve, setup.folder.path()).unwrap_or_else(|ended| panic!("{ended:?}"));
    setup.set("server.listen", server.text("listen"));
    setup.set("server.admin_listen", server.text("adminListen"));
    let ended = setup.doctor(false);
    assert_eq!(ended.code, 0, "{ended:?}");
    let holds = format!("books.lease: process {} holds the books", server.id());
    assert!(ended.stdout.contains(&holds), "{ended:?}");
    assert!(ended.stdout.contains("is taken, and a server holds the books"), "{ended:?}");
    assert_eq!(server.end("TERM").code, 0);
}

#[test]
fn help_says_what_the_ends_mean() {
    let help = farebox(&["doctor", "--help"]);
    assert!(help.stdout.contains("`doctor`: an error was found"), "{help:?}");
}
