use super::*;

const GOOD: &str = r#"{"protocol":"v1","chainId":4217,"escrow":"0x51bd6194a25ac6ebe692e622350e1d85440cf132","channelId":"0xac1c0b6b5bb516a104d5d8669ebc1d8a7ecf6b72763f4ea542c5101b4f2d2260","cumulativeAmount":"0","signature":"0x5082661a0bb138ff3dbab9632a2dea82e42d143bf1b3520a1c35ce2c725e2d693ddff65fbe229ff20f096f1092cb63297fe9cf9e54818105394ef8454f3690dd1c","expectedSigner":"0x02d60b5259ee279855d5b036a1273a147cac4e3c","ignored":{"deep":[1]}}"#;

fn run(input: &str) -> (Result<Summary, VerifyError>, String) {
    let mut output = Vec::new();
    let answer = verify(Verifier::new(), input.as_bytes(), &mut output);
    (answer, String::from_utf8(output).unwrap())
}

fn bad() -> String {
    GOOD.replace("\"cumulativeAmount\":\"0\"", "\"cumulativeAmount\":\"1\"")
}

#[test]
fn every_shape_of_input_is_read() {
    let shapes = [
        format!("{GOOD}\n{}\n", bad()),
        format!("{GOOD}{}", bad()),
        format!("  [{GOOD},\n{}]  ", bad()),
        format!("{{\"note\":\"x\",\"vouchers\":[{GOOD},{}],\"opens\":[{{\"a\":1}}]}}", bad()),
        format!("[{GOOD}]\n[{}]", bad()),
    ];
    for shape in shapes {
        let (answer, output) = run(&shape);
        assert_eq!(answer.unwrap(), Summary { valid: 1, invalid: 1 }, "{shape}");
        let (first, second) = output.split_once('\n').unwrap();
        assert_eq!(first, "{\"valid\":true}", "{shape}");
        assert!(
            second.starts_with(r#"{"valid":false,"reason":"wrong_signer","recoveredSigner":"0x"#),
            "{shape}"
        );
    }
}

#[test]
fn a_voucher_that_lacks_a_field_is_answered_in_its_place() {
    let (answer, output) = run(&format!("{{}}\n{GOOD}\n{}", GOOD.replace("4217", "\"x\"")));
    assert_eq!(answer.unwrap(), Summary { valid: 1, invalid: 2 });
    let reasons = "{\"valid\":false,\"reason\":\"malformed_protocol\"}\n{\"valid\":true}\n\
                   {\"valid\":false,\"reason\":\"malformed_chain_id\"}\n";
    assert_eq!(output, reasons);
}

#[test]
fn who_signed_instead_is_told() {
    let signer = "0x02d60b5259ee279855d5b036a1273a147cac4e3c";
    let (answer, output) = run(&GOOD.replace(signer, "0x0000000000000000000000000000000000000001"));
    assert_eq!(answer.unwrap(), Summary { valid: 0, invalid: 1 });
    let told = format!("{{\"valid\":false,\"reason\":\"wrong_signer\",\"recoveredSigner\":\"{signer}\"}}\n");
    assert_eq!(output, told);
    // 5 is no x coordinate: nobody signed.
    let r = "5082661a0bb138ff3dbab9632a2dea82e42d143bf1b3520a1c35ce2c725e2d69";
    let (_, output) = run(&GOOD.replace(r, &format!("{:064x}", 5)));
    assert_eq!(output, "{\"valid\":false,\"reason\":\"unrecoverable\"}\n");
}

#[test]
fn what_was_read_before_a_fault_is_answered() {
    for (garbage, says) in [
        ("{\"protocol\":", "EOF"),
        ("nonsense", "expected"),
        ("5", "invalid type"),
        ("{\"vouchers\":5}", "a list of vouchers"),
    ] {
        let (answer, output) = run(&format!("{GOOD}\n{garbage}"));
        let error = answer.unwrap_err().to_string();
        assert!(error.starts_with("the input cannot be used after 1 vouchers: "), "{error}");
        assert!(error.contains(says) && error.contains("line 2"), "{error}");
        assert_eq!(output, "{\"valid\":true}\n");
    }
}

#[test]
fn an_empty_input_is_no_success_but_an_empty_list_is() {
    for empty in ["", " \n\t"] {
        assert!(matches!(run(empty).0, Err(VerifyError::Empty)));
    }
    assert_eq!(run("[]").0.unwrap(), Summary::default());
}

#[test]
fn a_voucher_without_end_is_refused_early() {
    let endless = io::repeat(b'a');
    let input = io::Read::chain(&b"{\"signature\":\""[..], endless);
    let error = verify(Verifier::new(), input, io::sink()).unwrap_err().to_string();
    assert!(error.contains("longer than 65536 bytes"), "{error}");
}

#[test]
fn a_long_input_is_read_in_batches() {
    let count = 2 * BATCH_VOUCHERS_MAX + 3;
    let lines = format!("{}\n", bad().replace("\"v1\"", "\"v3\"")).repeat(count);
    let (answer, output) = run(&lines);
    assert_eq!(answer.unwrap(), Summary { valid: 0, invalid: count as u64 });
    assert_eq!(output.lines().count(), count);
}

#[test]
fn an_output_that_breaks_is_an_error() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = format!("{GOOD}\n").repeat(3);
    assert!(matches!(verify(Verifier::new(), lines.as_bytes(), Broken), Err(VerifyError::Output(_))));
    let many = "{}\n".repeat(3 * BATCH_VOUCHERS_MAX);
    assert!(matches!(verify(Verifier::new(), many.as_bytes(), Broken), Err(VerifyError::Output(_))));
}
