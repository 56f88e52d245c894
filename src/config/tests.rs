use farebox_core::channel::{Access, Limits, Rate, Subject, UnsettledBasis};
use farebox_core::units::{B256, ChannelId, UnixSeconds};

use super::*;

const PATH: &str = "/etc/farebox/farebox.toml";

const GOOD: &str = r#"
[server]
listen = "127.0.0.1:8402"
admin_listen = "127.0.0.1:8403"
realm = "api.example.com"
challenge_key_file = "challenge.key"
[upstream]
url = "http://127.0.0.1:9000"
[chain]
rpc = ["http://127.0.0.1:8545"]
id = 31337
[payee]
address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
token = "0x20c0000000000000000000000000000000000000"
key_file = "keys/payee.key"
[escrow]
v2 = "0x4d50500000000000000000000000000000000000"
[[route]]
path = "/v1/*"
amount = "25"
unit = "llm_token"
meter = "request"
suggested_deposit = "1000000"
[ledger]
kind = "rocksdb"
path = "farebox-data"
"#;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::parse(Path::new(PATH), text, environment.collect::<Vec<_>>())
}

fn refusals(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    match parse(text, environment) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_documented_file_is_read() {
    let config = parse(GOOD, &[]).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:8402".parse().unwrap());
    assert_eq!(config.server.challenge_key_file, Path::new("/etc/farebox/challenge.key"));
    assert_eq!(config.payee.key, PayeeKey::File("/etc/farebox/keys/payee.key".into()));
    assert_eq!(config.ledger, Ledger::RocksDb("/etc/farebox/farebox-data".into()));
    assert_eq!(config.chain.id, ChainId(31_337));
    assert_eq!(config.escrow.v1, None);
    let [route] = config.routes.as_slice() else { panic!("one route") };
    let Fare::Paid(price) = &route.fare else { panic!("a price") };
    assert_eq!((price.amount, &price.meter), (Amount::new(25), &farebox_engine::http::Meter::Request));
    assert_eq!(price.suggested_deposit, Some(Amount::new(1_000_000)));
    assert_eq!(config.voucher.need_voucher_wait, Duration::from_secs(60));
}

/// `(what to replace in the good file, with what, what the refusal says)`
const WRONG: &[(&str, &str, &str)] = &[
    (
        "listen = \"127.0.0.1:8402\"",
        "listen = \"localhost\"",
        "server.listen: found \"localhost\", expected an IP address and a port",
    ),
    (
        "listen = \"127.0.0.1:8402\"",
        "listen = 8402",
        "server.listen: found the number 8402, expected an IP address and a port",
    ),
    (
        "listen = \"127.0.0.1:8402\"",
        "listn = \"127.0.0.1:8402\"",
        "server.listn: found an unknown key, expected one of listen, admin_listen, realm",
    ),
    (
        "127.0.0.1:8403",
        "127.0.0.1:8402",
        "server.admin_listen: found \"127.0.0.1:8402\", expected another address than server.listen",
    ),
    (
        "realm = \"api.example.com\"",
        "",
        "server.realm: found nothing, expected the name of the protection space",
    ),
    (
        "api.example.com",
        "api\\\"x",
        "server.realm: found \"api\\\"x\", expected the name of the protection space",
    ),
    ("\"challenge.key\"", "\"\"", "server.challenge_key_file: found \"\", expected the path of a key file"),
    (
        "\"challenge.key\"",
        "\"c\"\nchallenge_lifetime_s = 5",
        "server.challenge_lifetime_s: found 5, expected seconds, 60 to 31536000",
    ),
    (
        "\"challenge.key\"",
        "\"c\"\ndrain_s = -1",
        "server.drain_s: found the number -1, expected seconds, 0 to 3600",
    ),
    (
        "http://127.0.0.1:9000",
        "127.0.0.1:9000",
        "upstream.url: found \"127.0.0.1:9000\", expected a URL of http or https",
    ),
    (
        "http://127.0.0.1:9000",
        "http://u:hunter2@x",
        "upstream.url: found \"(a URL with credentials, not shown)\", expected a URL",
    ),
    (
        "127.0.0.1:8402",
        "192.0.2.1:8402",
        "server.listen: found \"192.0.2.1:8402\", expected a loopback address, or TLS by server.tls_cert_file",
    ),
    (
        "realm = ",
        "tls_cert_file = \"c\"\nrealm = ",
        "server.tls_key_file: found nothing, expected the path of a private key in PEM",
    ),
    (
        "realm = ",
        "previous_challenge_key_files = [\"\"]\nrealm = ",
        "server.previous_challenge_key_files[0]: found \"\", expected the path of a key file that exists",
    ),
    ("[upstream]", "[upstrem]", "upstrem: found an unknown key, expected one of server, upstream, chain"),
    ("[\"http://127.0.0.1:8545\"]", "[]", "chain.rpc: found 0 URLs, expected a list of 1 to 8 RPC URLs"),
    (
        "[\"http://127.0.0.1:8545\"]",
        "\"http://127.0.0.1:8545\"",
        "chain.rpc: found \"http://127.0.0.1:8545\", expected a list of 1 to 8 RPC URLs",
    ),
    (
        "[\"http://127.0.0.1:8545\"]",
        "[\"http://a\", \"ftp://h/s3cret\"]",
        "chain.rpc[1]: found \"ftp://h\", expected a URL of http or https",
    ),
    ("id = 31337", "id = 0", "chain.id: found 0, expected the chain's id"),
    ("id = 31337", "id = \"abc\"", "chain.id: found \"abc\", expected the chain's id"),
    ("id = 31337", "", "chain.id: found nothing, expected the chain's id"),
    (
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "0xF39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "payee.address: found \"0xF39fd6e51aad88f6f4ce6ab8827279cfffb92266\", expected a nonzero address",
    ),
    (
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "0x0000000000000000000000000000000000000000",
        "payee.address: found \"0x0000000000000000000000000000000000000000\", expected a nonzero address",
    ),
    (
        "0x20c0000000000000000000000000000000000000",
        "0x20c0",
        "payee.token: found \"0x20c0\", expected a nonzero address",
    ),
    ("key_file = \"keys/payee.key\"", "", "payee.key_file: found nothing, expected the path of the key file"),
    (
        "key_file = \"keys/payee.key\"",
        "key_file = \"k\"\nkms = \"aws:alias/payee\"",
        "payee.kms: found \"aws:alias/payee\", expected nothing beside payee.key_file: one key signs",
    ),
    (
        "key_file = \"keys/payee.key\"",
        "kms = \"vault:payee\"",
        "payee.kms: found \"vault:payee\", expected \"aws:\" and a key id, alias or ARN, or \"gcp:projects/",
    ),
    (
        "key_file = \"keys/payee.key\"",
        "key_file = \"k\"\noperator = \"me\"",
        "payee.operator: found \"me\", expected a nonzero address",
    ),
    ("v2 = ", "v1 = \"0x1\"\nv2 = ", "escrow.v1: found \"0x1\", expected a nonzero address"),
    (
        "v2 = ",
        "v1 = \"0x4d50500000000000000000000000000000000000\"\nv2 = ",
        "escrow.v1: found \"0x4d50500000000000000000000000000000000000\", expected another address than escrow.v2",
    ),
    ("path = \"/v1/*\"", "path = \"v1\"", "route[0].path: found \"v1\", expected a path that is exact"),
    (
        "path = \"/v1/*\"",
        "path = \"/v1/*\"\nmethods = [\"get\"]",
        "route[0].methods: found \"get\", expected a list of HTTP methods in capitals",
    ),
    (
        "path = \"/v1/*\"",
        "path = \"/v1/*\"\nmethods = [\"GET\", \"GET\"]",
        "route[0].methods: found \"GET\", expected a list of HTTP methods in capitals",
    ),
    (
        "path = \"/v1/*\"",
        "path = \"/v1/*\"\nmethods = []",
        "route[0].methods: found an empty list, expected a list of HTTP methods",
    ),
    (
        "path = \"/v1/*\"",
        "path = \"/v1/*\"\nfree = \"maybe\"",
        "route[0].free: found \"maybe\", expected true or false",
    ),
    (
        "amount = \"25\"",
        "amount = \"0\"",
        "route[0].amount: found \"0\", expected an amount in base units above 0",
    ),
    (
        "amount = \"25\"",
        "amount = \"0.25\"",
        "route[0].amount: found \"0.25\", expected an amount in base units above 0",
    ),
    (
        "amount = \"25\"",
        "amount = 25",
        "route[0].amount: found the number 25, expected an amount in base units above 0",
    ),
    ("amount = \"25\"", "", "route[0].amount: found nothing, expected an amount in base units above 0"),
    (
        "amount = \"25\"",
        "amount = \"25\"\nprice = \"1\"",
        "route[0].price: found an unknown key, expected one of path, methods",
    ),
    ("llm_token", "llm token", "route[0].unit: found \"llm token\", expected the name of one unit"),
    (
        "meter = \"request\"",
        "meter = \"token\"",
        "route[0].meter: found \"token\", expected \"request\", \"sse_event\", ",
    ),
    (
        "\"1000000\"",
        "\"1000000\"\ndescription = \"é\"",
        "route[0].description: found \"é\", expected words for people",
    ),
    (
        "\"1000000\"",
        "\"24\"",
        "route[0].suggested_deposit: found \"24\", expected at least the price of one unit, 25",
    ),
    (
        "kind = \"rocksdb\"",
        "kind = \"sqlite\"",
        "ledger.kind: found \"sqlite\", expected \"rocksdb\", or \"memory\" (tests only)",
    ),
    (
        "kind = \"rocksdb\"",
        "kind = \"memory\"",
        "ledger.kind: found \"memory\", expected \"rocksdb\"; books in memory are lost",
    ),
    ("path = \"farebox-data\"", "", "ledger.path: found nothing, expected the directory of the books"),
    (
        "[ledger]",
        "[voucher]\ndelta_min = \"-1\"\n[ledger]",
        "voucher.delta_min: found \"-1\", expected an amount in base units",
    ),
    (
        "[ledger]",
        "[voucher]\nneed_voucher_wait_s = 0\n[ledger]",
        "voucher.need_voucher_wait_s: found 0, expected seconds, 1 to 3600",
    ),
    (
        "[ledger]",
        "[books]\nretention_days = 36501\n[ledger]",
        "books.retention_days: found 36501, expected days, 0 to 36500",
    ),
    (
        "[ledger]",
        "[books]\njournal_keep_days = 36501\n[ledger]",
        "books.journal_keep_days: found 36501, expected days, 0 to 36500",
    ),
    (
        "[ledger]",
        "[books]\njournal_keep_frames = -1\n[ledger]",
        "books.journal_keep_frames: found the number -1, expected a whole number, 0 to 9007199254740992",
    ),
    (
        "[ledger]",
        "[books]\noutcome_age_s_max = 5\n[ledger]",
        "books.outcome_age_s_max: found 5, expected seconds, 60 to 3153600000",
    ),
    (
        "[ledger]",
        "[limits]\nconnections_max = 0\n[ledger]",
        "limits.connections_max: found 0, expected a whole number, 1 to 1000000",
    ),
    (
        "[ledger]",
        "[limits]\nshards = 1.5\n[ledger]",
        "limits.shards: found the number 1.5, expected a whole number, 0 to 64",
    ),
    (
        "[ledger]",
        "[settlement]\namount_min = \"-5\"\n[ledger]",
        "settlement.amount_min: found \"-5\", expected an amount in base units",
    ),
    (
        "[ledger]",
        "[settlement]\nbatch_claims_max = 33\n[ledger]",
        "settlement.batch_claims_max: found 33, expected a whole number, 1 to 32",
    ),
    (
        "[ledger]",
        "[settlement]\npriority_fee = 6\ngas_price_max = 5\n[ledger]",
        "settlement.priority_fee: found 6, expected a price in 10^-18 dollars, 0 to settlement.gas_price_max",
    ),
    (
        "[ledger]",
        "[settlement]\nfee_token = \"pathUSD\"\n[ledger]",
        "settlement.fee_token: found \"pathUSD\", expected a nonzero address",
    ),
    (
        "[ledger]",
        "[settlement]\nidle_close_days = 30\n[ledger]",
        "settlement.idle_close_days: found an unknown key, expected one of amount_min, age_s_max",
    ),
    (
        "[ledger]",
        "[risk]\ndeposit_min = \"1.5\"\n[ledger]",
        "risk.deposit_min: found \"1.5\", expected an amount in base units",
    ),
    (
        "[ledger]",
        "[risk]\ndeposit_min = 5\n[ledger]",
        "risk.deposit_min: found the number 5, expected an amount in base units",
    ),
    (
        "[ledger]",
        "[risk]\nunsettled_payer_max = \"-1\"\n[ledger]",
        "risk.unsettled_payer_max: found \"-1\", expected an amount in base units",
    ),
    (
        "[ledger]",
        "[risk]\nunsettled_total_max = \"\"\n[ledger]",
        "risk.unsettled_total_max: found \"\", expected an amount in base units",
    ),
    (
        "[ledger]",
        "[risk]\nvouchers_per_second_max = 1000001\n[ledger]",
        "risk.vouchers_per_second_max: found 1000001, expected a whole number, 0 to 1000000",
    ),
    (
        "[ledger]",
        "[risk]\nvoucher_burst_max = 0\n[ledger]",
        "risk.voucher_burst_max: found 0, expected a whole number, 1 to 1000000",
    ),
    (
        "[ledger]",
        "[risk]\nunsettled_age_s_max = -1\n[ledger]",
        "risk.unsettled_age_s_max: found the number -1, expected seconds, 0 to 3153600000",
    ),
    (
        "[ledger]",
        "[risk]\nunsettled_basis = \"reserved\"\n[ledger]",
        "risk.unsettled_basis: found \"reserved\", expected \"spent\" or \"accepted\"",
    ),
    (
        "[ledger]",
        "[risk]\nunsettled_max = \"1\"\n[ledger]",
        "risk.unsettled_max: found an unknown key, expected one of deposit_min, vouchers_per_second_max",
    ),
    (
        "[ledger]",
        "[[risk.deny]]\npayer = \"0x12\"\n[ledger]",
        "risk.deny[0].payer: found \"0x12\", expected a nonzero address",
    ),
    (
        "[ledger]",
        "[[risk.allow]]\nchannel = \"0x12\"\n[ledger]",
        "risk.allow[0].channel: found \"0x12\", expected a channel id: 0x and 64 hex digits",
    ),
    (
        "[ledger]",
        "[[risk.deny]]\nuntil = \"2027-01-01T00:00:00Z\"\n[ledger]",
        "risk.deny[0]: found 0 of payer, signer and channel, expected exactly one",
    ),
    (
        "[ledger]",
        "[[risk.deny]]\npayer = \"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\n\
         signer = \"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\n[ledger]",
        "risk.deny[0]: found 2 of payer, signer and channel, expected exactly one",
    ),
    (
        "[ledger]",
        "[[risk.deny]]\nsigner = \"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\nuntil = \"tomorrow\"\n[ledger]",
        "risk.deny[0].until: found \"tomorrow\", expected a time such as",
    ),
    (
        "[ledger]",
        "[[risk.deny]]\nsigner = \"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\n\
         [[risk.deny]]\nsigner = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"\n[ledger]",
        "risk.deny[1]: found a signer that is listed before, expected each once",
    ),
];

#[test]
fn every_refusal_names_the_key_what_was_found_and_what_is_expected() {
    for (good, wrong, expected) in WRONG {
        assert!(GOOD.contains(good), "{good}");
        let refusals = refusals(&GOOD.replacen(good, wrong, 1), &[]);
        assert!(refusals.iter().any(|refusal| refusal.starts_with(expected)), "{wrong}: {refusals:#?}");
        assert_eq!(refusals.len(), 1, "{wrong}: {refusals:#?}");
    }
}

#[test]
fn the_rate_alone_is_limited_by_default_and_all_is_read_when_it_is_set() {
    let default = Limits { rate: Rate::new(10, 20), ..Limits::default() };
    assert_eq!(parse(GOOD, &[]).unwrap().risk, default);
    let off = parse(GOOD, &[("FAREBOX__RISK__VOUCHERS_PER_SECOND_MAX", "0")]).unwrap().risk;
    assert_eq!(off, Limits::default());
    let text = GOOD.replace(
        "[ledger]",
        r#"[risk]
        deposit_min = "1000000"
        vouchers_per_second_max = 10
        voucher_burst_max = 30
        unsettled_basis = "accepted"
        unsettled_payer_max = "5000000"
        unsettled_total_max = "70000000"
        unsettled_age_s_max = 86400
        allow = [{ channel = "0x1111111111111111111111111111111111111111111111111111111111111111" }]
        [[risk.deny]]
        payer = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
        until = "2027-01-01T00:00:00.5Z"
        [ledger]"#,
    );
    let payer = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap();
    let channel = ChannelId(B256::repeat_byte(0x11));
    let expected = Limits {
        deposit_min: Amount::new(1_000_000),
        rate: Rate::new(10, 30),
        basis: UnsettledBasis::Accepted,
        unsettled_payer_max: Some(Amount::new(5_000_000)),
        unsettled_total_max: Some(Amount::new(70_000_000)),
        unsettled_age_s_max: Some(86_400),
        access: Access {
            deny: [(Subject::Payer(payer), Some(UnixSeconds(1_798_761_601)))].into(),
            allow: Some([(Subject::Channel(channel), None)].into()),
        },
    };
    assert_eq!(parse(&text, &[]).unwrap().risk, expected);
    let set = [("FAREBOX__RISK__DENY__0__SIGNER", "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")];
    let error = parse(GOOD, &set).map(|config| config.risk.access.deny.len());
    assert_eq!(error.unwrap(), 1, "the environment adds entries");
}

#[test]
fn one_run_tells_about_everything_that_is_wrong() {
    let text = GOOD.replace("\"25\"", "\"0\"").replace("31337", "0").replace("/v1/*", "v1");
    let refusals = refusals(&text, &[]);
    assert_eq!(refusals.len(), 3, "{refusals:#?}");
}

#[test]
fn no_route_is_refused() {
    let start = GOOD.find("[[route]]").unwrap();
    let end = GOOD.find("[ledger]").unwrap();
    let text = format!("{}{}", &GOOD[..start], &GOOD[end..]);
    assert_eq!(
        refusals(&text, &[]),
        ["route: found 0 routes, expected at least one [[route]] with path, amount, unit and meter"]
    );
}

#[test]
fn broken_toml_names_the_file_and_the_line() {
    let error = parse("[server\nlisten = 1", &[]).unwrap_err().to_string();
    assert!(error.starts_with("/etc/farebox/farebox.toml: is not valid TOML: "), "{error}");
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn an_absent_file_is_named() {
    let error =
        Config::load(Path::new("/nonexistent/farebox.toml"), Purpose::Serve, []).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/farebox.toml: cannot be read: "), "{error}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = parse(
        GOOD,
        &[
            ("FAREBOX__SERVER__LISTEN", "0.0.0.0:80"),
            ("FAREBOX__SERVER__ALLOW_PLAIN_HTTP", "true"),
            ("FAREBOX__CHAIN__ID", "42431"),
            ("FAREBOX__CHAIN__RPC", "[\"http://a\", \"http://b\"]"),
            ("FAREBOX__ROUTE__0__AMOUNT", "26"),
            ("FAREBOX__ROUTE__1__PATH", "/about"),
            ("FAREBOX__ROUTE__1__FREE", "true"),
            ("FAREBOX__LEDGER__KIND", "memory"),
            ("FAREBOX__LEDGER__ALLOW_VOLATILE", "true"),
            ("FAREBOX__VOUCHER__DELTA_MIN", "7"),
            ("FAREBOX_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen, "0.0.0.0:80".parse().unwrap());
    assert_eq!(config.chain.id, ChainId(42_431));
    assert_eq!(config.chain.rpc.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
    let [first, second] = config.routes.as_slice() else { panic!("two routes") };
    assert!(matches!(&first.fare, Fare::Paid(price) if price.amount == Amount::new(26)));
    assert_eq!((second.pattern.to_string(), &second.fare), ("/about".into(), &Fare::Free));
    assert_eq!(config.ledger, Ledger::Memory);
    assert_eq!(config.voucher.delta_min, Amount::new(7));
}

#[test]
fn a_refusal_names_the_variable_that_set_the_key() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "FAREBOX__SERVER__LISTEN",
            "x",
            "server.listen: found \"x\", expected an IP address and a port, such as \"127.0.0.1:8402\" (port 0 takes a free one)",
        ),
        (
            "FAREBOX__CHAIN__ID",
            "x",
            "chain.id: found \"x\", expected the chain's id, a whole number above 0 (4217 is Tempo mainnet, 42431 its testnet)",
        ),
        (
            "FAREBOX__SERVER__LISTEN__X",
            "1",
            "server.listen.x: found a key inside a value, expected a key of the configuration",
        ),
        (
            "FAREBOX__ROUTE__5__AMOUNT",
            "1",
            "route[5].amount: found entry 5 of a list of 1, expected a key of the configuration",
        ),
    ];
    for (variable, value, expected) in cases {
        let refusal = format!("{expected} (set by the environment variable {variable})");
        assert_eq!(refusals(GOOD, &[(variable, value)]), [refusal]);
    }
    let unknown = refusals(GOOD, &[("FAREBOX__SERVER__LISTN", "x")]);
    assert!(unknown[0].starts_with("server.listn: found an unknown key"), "{unknown:?}");
    assert!(unknown[0].ends_with("(set by the environment variable FAREBOX__SERVER__LISTN)"), "{unknown:?}");
}

/// Keys that the example shows with a value that is no default.
const EXAMPLES: [&str; 9] = [
    "socket",
    "methods",
    "description",
    "tls_cert_file",
    "tls_key_file",
    "bytes_per_unit",
    "output_weight",
    "units_header",
    "tokens",
];

/// The example in the repository, and the defaults that it claims.
#[test]
fn the_example_file_is_read_and_tells_the_defaults() {
    let text = include_str!("../../farebox.example.toml");
    let config = parse(text, &[]).unwrap();
    assert_eq!(config.routes.as_slice().len(), 2);
    // Uncommented, the keys in comments must be known and change nothing.
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || (rest.contains(" = ") && !rest.contains("\"0x...\"")) => {
                rest
            }
            Some(_) => "",
            None => line,
        })
        .filter(|line| !EXAMPLES.iter().any(|key| line.starts_with(key)))
        // An address for the local API is none by default.
        .filter(|line| !line.contains(":8404"))
        .filter(|line| !line.contains("absent = none"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(uncommented.contains("\ndrain_s = 30") && uncommented.contains("\n[limits]"), "{uncommented}");
    assert_eq!(format!("{:?}", parse(&uncommented, &[]).unwrap()), format!("{config:?}"));
}

#[test]
fn the_journal_is_kept_as_asked() {
    let kept = |books: &str| {
        let text = GOOD.replacen("[ledger]", &format!("[books]\n{books}\n[ledger]"), 1);
        let books = parse(&text, &[]).unwrap().books;
        (books.journal_keep_s, books.journal_keep_frames)
    };
    let retention = |text: &str| parse(text, &[]).unwrap().books.retention;
    assert_eq!(retention(GOOD), Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(retention(&GOOD.replacen("[ledger]", "[books]\nretention_days = 0\n[ledger]", 1)), None);
    assert_eq!(kept(""), (None, None));
    assert_eq!(kept("journal_keep_days = 400"), (Some(400 * 86_400), None));
    assert_eq!(kept("journal_keep_days = 1\njournal_keep_frames = 9"), (Some(86_400), Some(9)));
}

#[test]
fn what_only_a_gateway_needs_may_be_left_out_for_the_books() {
    let start = GOOD.find("[[route]]").unwrap();
    let end = GOOD.find("[ledger]").unwrap();
    let bare = format!("{}{}", &GOOD[GOOD.find("[chain]").unwrap()..start], &GOOD[end..]);
    let config = Config::parse_for(Path::new(PATH), Purpose::Books, &bare, []).unwrap();
    assert!(config.upstream.is_none() && config.server.realm.is_none());
    assert!(config.routes.as_slice().is_empty());
    assert_eq!(config.local.socket, None);
    let refusals = refusals(&bare, &[]);
    for key in ["server.realm: found nothing", "upstream: found nothing", "route: found 0 routes"] {
        assert!(refusals.iter().any(|refusal| refusal.starts_with(key)), "{refusals:#?}");
    }
}

#[test]
fn the_local_api_stays_on_this_machine_unless_it_is_told() {
    let with = |keys: &str| format!("{GOOD}\n[local]\n{keys}\n");
    let config = parse(&with("socket = \"s\"\nlisten = \"127.0.0.1:8404\""), &[]).unwrap();
    assert_eq!(config.local.socket, Some("/etc/farebox/s".into()));
    assert_eq!(config.local.listen, Some("127.0.0.1:8404".parse().unwrap()));
    assert_eq!(config.local.key_file, Path::new("/etc/farebox/local.key"));
    let found = refusals(&with("listen = \"0.0.0.0:8404\""), &[]);
    assert!(
        found[0].starts_with("local.listen: found \"0.0.0.0:8404\", expected an address of the loopback")
    );
    assert!(parse(&with("listen = \"0.0.0.0:8404\"\nallow_remote = true"), &[]).is_ok());
    let long = format!("socket = \"{}\"", "s".repeat(97));
    assert!(refusals(&with(&long), &[])[0].starts_with("local.socket: found "));
    assert!(refusals(&with("connections_max = 0"), &[])[0].starts_with("local.connections_max: found 0"));
}

#[test]
fn a_public_address_speaks_tls_or_says_why_not() {
    let public = GOOD.replace("127.0.0.1:8402", "192.0.2.1:443");
    let with =
        |keys: &str| parse(&public.replacen("realm = ", &format!("{keys}\nrealm = "), 1), &[]).unwrap();
    let tls = with("tls_cert_file = \"cert.pem\"\ntls_key_file = \"/k/key.pem\"").server.tls;
    let files = TlsFiles { cert: "/etc/farebox/cert.pem".into(), key: "/k/key.pem".into() };
    assert_eq!(tls, Some(files));
    assert_eq!(with("allow_plain_http = true").server.tls, None);
    assert_eq!(parse(&GOOD.replace("127.0.0.1:8402", "[::1]:8402"), &[]).unwrap().server.tls, None);
}

const X402: &str = r#"
[x402]
facilitator_url = "https://facilitator.example.com"
origin = "https://api.example.com"
chain_id = 8453
token = "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"
token_name = "USD Coin"
token_version = "2"
"#;

#[test]
fn a_price_for_another_method_needs_its_table_and_a_plain_route() {
    let priced = |keys: &str| GOOD.replacen("suggested_deposit", &format!("{keys}\nsuggested_deposit"), 1);
    let config = parse(&format!("{}{X402}", priced("x402 = \"2000\"")), &[]).unwrap();
    let Fare::Paid(price) = &config.routes.as_slice()[0].fare else { panic!("a price") };
    assert_eq!(price.other_charges.get("evm"), Some(&Amount::new(2_000)));
    assert_eq!(config.x402.unwrap().terms.payee, config.payee.address);

    for name in ["x402", "stripe"] {
        let found = refusals(&priced(&format!("{name} = \"50\"")), &[]);
        let expected =
            format!("route[0].{name}: found \"50\", expected no such price without a table [{name}]");
        assert_eq!(found, [expected]);
    }
    let found = refusals(&format!("{}{X402}", priced("x402 = \"0\"")), &[]);
    assert!(found[0].starts_with("route[0].x402: found \"0\", expected an amount"), "{found:?}");
    let found = refusals(&format!("{}{X402}", priced("x402 = \"5\"\ntransport = \"mcp\"")), &[]);
    assert!(
        found[0].starts_with("route[0].transport: found \"mcp\", expected \"http\" with a charge"),
        "{found:?}"
    );
    let stripe = "[stripe]\nsecret_key_file = \"k\"\nnetwork_id = \"profile_1\"\n";
    let config = parse(&format!("{}\n{stripe}", priced("stripe = \"50\"")), &[]);
    assert_eq!(config.is_ok(), cfg!(feature = "charge"), "only a program that can charge takes an account");
}
