use super::*;

fn read(message: &Value) -> Result<Message, MessageError> {
    Message::read(message.to_string().as_bytes())
}

fn credential() -> Value {
    json!({
        "challenge": { "id": "a", "realm": "r", "method": "tempo", "intent": "session",
            "request": { "b": "2", "a": { "d": 1, "c": true } }, "expires": "2026-01-01T00:00:00Z" },
        "payload": { "action": "voucher" },
    })
}

#[test]
fn calls_are_paid_and_their_credentials_stay_here() {
    for (place, message) in [
        (
            "nested",
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "t", "_meta": { CREDENTIAL: credential(), "own": 1 } } }),
        ),
        (
            "at the root",
            json!({ "jsonrpc": "2.0", "id": "x", "method": "tools/call",
            "params": { "name": "t" }, "_meta": { CREDENTIAL: credential() } }),
        ),
    ] {
        let message = read(&message).unwrap();
        assert!(message.is_call(), "{place}");
        let headers = message.headers();
        let header = headers[AUTHORIZATION].to_str().unwrap().strip_prefix("Payment ").unwrap().to_owned();
        let sent: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        let request = URL_SAFE_NO_PAD.decode(sent["challenge"]["request"].as_str().unwrap()).unwrap();
        assert_eq!(request, br#"{"a":{"c":true,"d":1},"b":"2"}"#, "canonical");
        let body = String::from_utf8(message.to_body()).unwrap();
        assert!(!body.contains("paymentauth"), "{body}");
        assert_eq!(body.contains("own"), place == "nested", "{body}");
        assert_eq!(format!("{message:?}"), "Message(call: true, ..)");
    }
}

#[test]
fn what_is_no_call_is_free_and_its_credential_means_nothing() {
    let message = read(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list",
        "params": { "_meta": { CREDENTIAL: "nonsense" } } }));
    let message = message.unwrap();
    assert!(!message.is_call() && message.headers().is_empty());
    assert!(!String::from_utf8(message.to_body()).unwrap().contains("nonsense"));
    assert!(!read(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).unwrap().is_call());
}

#[test]
fn a_message_that_could_be_read_in_two_ways_is_written_anew() {
    let twice = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{}}"#;
    let message = Message::read(twice).unwrap();
    assert!(!message.is_call());
    // Members come in the order of the message or sorted, as serde_json was built.
    let body = String::from_utf8(message.to_body()).unwrap();
    assert_eq!(body.matches("method").count(), 1, "{body}");
    let written: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(written, json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": {} }));
}

#[test]
fn what_cannot_be_served_is_told_with_its_code() {
    let call = |id: Value, meta: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "_meta": meta } });
    assert_eq!(Message::read(b"{").unwrap_err().code(), code::PARSE);
    for (message, expected) in [
        (json!([call(json!(1), json!({}))]), MessageError::NotOneMessage),
        (json!("tools/call"), MessageError::NotOneMessage),
        (call(Value::Null, json!({})), MessageError::NoId),
        (call(json!(1), json!({ CREDENTIAL: 7 })), MessageError::BadCredential),
        (call(json!(1), json!({ CREDENTIAL: { "payload": {} } })), MessageError::BadCredential),
    ] {
        assert_eq!(read(&message).unwrap_err(), expected, "{message}");
        assert_eq!(expected.to_message()["error"]["code"], expected.code());
    }
}

#[test]
fn only_a_result_is_paid_and_no_service_gives_receipts() {
    let id = json!(7);
    let forged = json!({ RECEIPT: { "status": "success" }, "own": 1 });
    let mut result = json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [], "_meta": forged } });
    assert!(matches!(Answer::of(&id, &mut result), Answer::Result(_)));
    assert_eq!(result["result"]["_meta"], json!({ "own": 1 }));
    for (mut message, expected) in [
        (json!({ "id": 8, "result": {} }), Answer::Other),
        (json!({ "method": "notifications/progress" }), Answer::Other),
        (json!({ "id": 7, "method": "sampling/createMessage" }), Answer::Other),
        (json!({ "id": 7, "error": { "code": 1 } }), Answer::Failed),
        (json!({ "id": 7, "result": { "isError": true } }), Answer::Failed),
        (json!({ "id": 7, "result": null }), Answer::Failed),
        (json!([]), Answer::Other),
    ] {
        assert_eq!(Answer::of(&id, &mut message), expected);
    }
}

#[test]
fn a_server_says_that_it_can_be_paid() {
    let mut result = json!({ "capabilities": { "tools": {} } });
    advertise(result.as_object_mut().unwrap());
    assert_eq!(
        result["capabilities"]["experimental"]["payment"]["methods"]["tempo"]["intents"][0],
        "session"
    );
    assert!(result["capabilities"]["tools"].is_object());
}

#[test]
fn every_digit_of_an_argument_goes_through() {
    for number in [
        "12345678901234567890123",
        "899990000000000000000000000000000000.0",
        "0.1000000000000000055511151231",
    ] {
        let call = format!(
            r#"{{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{{"_meta":{{"{CREDENTIAL}":{},"x":{number}}},"arguments":{{"a":{number}}},"name":"t"}}}}"#,
            credential()
        );
        let passed = Message::read(call.as_bytes()).unwrap();
        assert!(!passed.headers().is_empty());
        let wanted = format!(
            r#"{{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{{"_meta":{{"x":{number}}},"arguments":{{"a":{number}}},"name":"t"}}}}"#
        );
        assert_eq!(String::from_utf8(passed.to_body()).unwrap(), wanted);
    }
}
