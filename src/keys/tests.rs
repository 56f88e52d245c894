use super::*;

/// The first account of the well-known test mnemonic.
const SECRET: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const OTHER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn key_file(config: &Config) -> &Path {
    let PayeeKey::File(path) = &config.payee.key else { panic!("a key file") };
    path
}

fn config(folder: &Path, payee: &str, operator: &str, v1: bool) -> Config {
    let operator = if operator.is_empty() { String::new() } else { format!("operator = \"{operator}\"") };
    let v1 = if v1 { format!("[escrow]\nv1 = \"{OTHER}\"") } else { String::new() };
    let text = format!(
        "[server]\nrealm = \"r\"\n[upstream]\nurl = \"http://u\"\n[chain]\nrpc = [\"http://c\"]\nid = 1\n\
         [payee]\naddress = \"{payee}\"\ntoken = \"{OTHER}\"\nkey_file = \"payee.key\"\n{operator}\n{v1}\n\
         [[route]]\npath = \"/*\"\nfree = true\n[ledger]\nkind = \"memory\"\nallow_volatile = true\n"
    );
    Config::parse(&folder.join("farebox.toml"), &text, []).unwrap()
}

#[test]
fn a_key_is_read_with_and_without_prefix_and_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), ADDRESS, "", true);
    let bare = SECRET.trim_start_matches("0x");
    for text in [SECRET.to_owned(), bare.to_owned(), format!("{SECRET}\n"), bare.to_uppercase()] {
        write(key_file(&config), &text, 0o600);
        let key = payee_key(&config).unwrap();
        assert_eq!(key.address(), ADDRESS.parse::<Address>().unwrap());
    }
    write(key_file(&config), SECRET, 0o400);
    payee_key(&config).unwrap();
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_repair() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), ADDRESS, "", false);
    let path = key_file(&config).display().to_string();
    for (mode, shown) in [(0o644, "0644"), (0o640, "0640"), (0o604, "0604"), (0o620, "0620")] {
        write(key_file(&config), SECRET, mode);
        assert_eq!(
            payee_key(&config).unwrap_err().to_string(),
            format!(
                "payee.key_file: {path}: found mode {shown}, expected 0600: others must not read it (chmod 600 {path})"
            )
        );
    }
}

#[test]
fn what_is_no_key_is_refused_without_showing_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), ADDRESS, "", false);
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    for text in ["", "0x", &SECRET[..65], &SECRET.replace('a', "g"), &"a".repeat(300), &"0".repeat(64), order]
    {
        write(key_file(&config), text, 0o600);
        let error = payee_key(&config).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(text.is_empty() || text == "0x" || !shown.contains(text), "{shown}");
        assert!(shown.contains("expected 32 bytes as 64 hex digits"), "{shown}");
    }
    std::fs::remove_file(key_file(&config)).unwrap();
    let error = payee_key(&config).unwrap_err().to_string();
    assert!(error.starts_with("payee.key_file: ") && error.contains("No such file"), "{error}");
    std::fs::create_dir(key_file(&config)).unwrap();
    assert!(matches!(payee_key(&config).unwrap_err(), KeyError::Malformed { .. }));
}

#[test]
fn the_key_belongs_to_the_payee_or_to_an_operator_who_may_close() {
    let folder = tempfile::tempdir().unwrap();
    let write_key = |config: &Config| write(key_file(config), SECRET, 0o600);
    let cases = [
        (ADDRESS, "", true, true),
        (ADDRESS, OTHER, true, true),
        (OTHER, ADDRESS, false, true),
        (OTHER, ADDRESS, true, false),
        (OTHER, "", false, false),
        (OTHER, OTHER, false, false),
    ];
    for (payee, operator, v1, taken) in cases {
        let config = config(folder.path(), payee, operator, v1);
        write_key(&config);
        let answer = payee_key(&config);
        assert_eq!(answer.is_ok(), taken, "{payee} {operator} {v1}: {answer:?}");
        if let Err(error) = answer {
            let error = error.to_string().to_lowercase();
            let found = format!("found the key of {ADDRESS}, expected the key of {OTHER} (payee.address)");
            assert!(error.contains(&found), "{error}");
            assert_eq!(error.contains("escrow.v1 is on"), v1, "{error}");
        }
    }
}

#[test]
fn a_payee_key_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), ADDRESS, "", false);
    write(key_file(&config), SECRET, 0o600);
    assert_eq!(format!("{:?}", payee_key(&config).unwrap()), format!("PayeeSigner({ADDRESS})"));
}

#[test]
fn a_challenge_key_is_made_once_and_belongs_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("challenge.key");
    check_challenge_key(&path).unwrap();
    assert!(!path.exists(), "a check makes nothing");
    let first = challenge_key(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_ne!(*first, [0; 32]);
    assert_eq!(*challenge_key(&path).unwrap(), *first);
    check_challenge_key(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left behind");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(challenge_key(&path).unwrap_err(), KeyError::Mode { mode: 0o644, .. }));
}

#[test]
fn a_challenge_key_in_a_folder_that_is_not_there_is_refused() {
    let error = challenge_key(Path::new("/nonexistent/challenge.key")).unwrap_err().to_string();
    assert!(error.starts_with("server.challenge_key_file: /nonexistent/challenge.key: "), "{error}");
}

#[tokio::test]
async fn a_key_in_a_service_is_of_the_operator_if_there_is_one_who_may_close() {
    let folder = tempfile::tempdir().unwrap();
    let address = |text: &str| text.parse::<Address>().unwrap();
    for (operator, v1, expected) in [("", true, ADDRESS), (OTHER, false, OTHER), (OTHER, true, ADDRESS)] {
        let mut config = config(folder.path(), ADDRESS, operator, v1);
        for (name, feature, is_built) in [
            ("aws:alias/payee", "kms-aws", cfg!(feature = "kms-aws")),
            (
                "gcp:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
                "kms-gcp",
                cfg!(feature = "kms-gcp"),
            ),
        ] {
            config.payee.key = PayeeKey::Kms(name.parse().unwrap());
            match payee_key(&config) {
                Ok(signer) => {
                    assert!(is_built, "{name}");
                    assert_eq!(signer.address(), address(expected), "{operator} {v1}");
                }
                Err(error) => {
                    assert!(!is_built, "{name}: {error}");
                    assert_eq!(
                        error.to_string(),
                        format!(
                            "payee.kms: found \"{name}\", but this program was built without the feature {feature}"
                        )
                    );
                }
            }
        }
    }
}

/// A service that answers as told.
struct Told(Result<Address, SigningError>);

impl RemoteKey for Told {
    fn connect(&self) -> farebox_engine::chain::BoxFuture<'_, Result<Address, SigningError>> {
        Box::pin(std::future::ready(self.0.clone()))
    }

    fn sign(
        &self,
        _: farebox_engine::core::units::B256,
    ) -> farebox_engine::chain::BoxFuture<'_, Result<alloy::primitives::Signature, SigningError>> {
        Box::pin(std::future::ready(Err(SigningError::Denied { what: "AccessDeniedException".into() })))
    }
}

#[tokio::test]
async fn a_service_that_is_away_keeps_nobody_from_serving_and_a_wrong_key_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), ADDRESS, "", false);
    config.payee.key = PayeeKey::Kms("aws:alias/payee".parse().unwrap());
    let (ours, other) = (config.payee.address, OTHER.parse::<Address>().unwrap());
    let away = SigningError::Unavailable { what: "no route".into() };
    for answer in [Ok(ours), Err(away)] {
        let signer = PayeeSigner::from(KeyService::new(Told(answer), ours));
        check_payee_key(&config, &signer).await.unwrap();
        assert_eq!(signer.health().failures, 1, "and it is known");
    }
    let signer = PayeeSigner::from(KeyService::new(Told(Ok(other)), ours));
    let error = check_payee_key(&config, &signer).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("payee.kms: aws:alias/payee: found the key of {other}, expected the key of {ours}")
    );
}

#[test]
fn a_key_of_stripe_is_one_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), ADDRESS, "", false);
    assert!(stripe_key(&config).unwrap().is_none());
    let secret_key_file = folder.path().join("stripe.key");
    config.stripe = Some(crate::config::Stripe {
        secret_key_file: secret_key_file.clone(),
        network_id: "profile_1".into(),
        payment_method_types: vec!["card".into()],
        currency: "usd".into(),
        api_url: None,
    });
    for text in ["sk_test_hunter2\n", "rk_live_hunter2"] {
        write(&secret_key_file, text, 0o600);
        assert_eq!(stripe_key(&config).unwrap().unwrap().as_str(), text.trim());
    }
    for text in ["pk_live_hunter2", "sk_hunter2 sk_hunter2", ""] {
        write(&secret_key_file, text, 0o600);
        let error = stripe_key(&config).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2") && shown.contains("stripe.secret_key_file: "), "{shown}");
    }
    write(&secret_key_file, "sk_test_hunter2", 0o644);
    assert!(matches!(stripe_key(&config).unwrap_err(), KeyError::Mode { .. }));
}
