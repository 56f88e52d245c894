use super::*;

/// The first account of the well-known test mnemonic.
const SECRET: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const OTHER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
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
        write(&config.payee.key_file, &text, 0o600);
        let key = payee_key(&config).unwrap();
        assert_eq!(key.address(), ADDRESS.parse::<Address>().unwrap());
    }
    write(&config.payee.key_file, SECRET, 0o400);
    payee_key(&config).unwrap();
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_repair() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), ADDRESS, "", false);
    let path = config.payee.key_file.display().to_string();
    for (mode, shown) in [(0o644, "0644"), (0o640, "0640"), (0o604, "0604"), (0o620, "0620")] {
        write(&config.payee.key_file, SECRET, mode);
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
        write(&config.payee.key_file, text, 0o600);
        let error = payee_key(&config).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(text.is_empty() || text == "0x" || !shown.contains(text), "{shown}");
        assert!(shown.contains("expected 32 bytes as 64 hex digits"), "{shown}");
    }
    std::fs::remove_file(&config.payee.key_file).unwrap();
    let error = payee_key(&config).unwrap_err().to_string();
    assert!(error.starts_with("payee.key_file: ") && error.contains("No such file"), "{error}");
    std::fs::create_dir(&config.payee.key_file).unwrap();
    assert!(matches!(payee_key(&config).unwrap_err(), KeyError::Malformed { .. }));
}

#[test]
fn the_key_belongs_to_the_payee_or_to_an_operator_who_may_close() {
    let folder = tempfile::tempdir().unwrap();
    let write_key = |config: &Config| write(&config.payee.key_file, SECRET, 0o600);
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
    write(&config.payee.key_file, SECRET, 0o600);
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
