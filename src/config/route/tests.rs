use farebox_engine::http::TokenRates;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn patterns_are_exact_or_end_in_a_star() {
    for text in ["/", "/*", "/v1", "/v1/*", "/v1/chat/completions", "/a-b_c.d~e/*"] {
        assert_eq!(pattern(text).to_string(), text);
    }
    assert_eq!(pattern("/v1/").to_string(), "/v1");
    for text in [
        "", "*", "v1/*", "/v1*", "/v*/x", "//", "/a//b", "/a/../b", "/./a", "/a%20b", "/a?b", "/a b",
        "/a\\b", "/é",
    ] {
        assert_eq!(Pattern::parse(text), None, "{text}");
    }
}

#[test]
fn patterns_match_whole_segments() {
    let below = pattern("/v1/*");
    for path in ["/v1", "/v1/", "/v1/x", "/v1/x/y/"] {
        assert!(below.matches(path), "{path}");
    }
    for path in ["/", "/v", "/v11", "/v2/x", "/x/v1/y"] {
        assert!(!below.matches(path), "{path}");
    }
    let exact = pattern("/v1/chat");
    assert!(exact.matches("/v1/chat") && exact.matches("/v1/chat/"));
    assert!(!exact.matches("/v1/chat/x") && !exact.matches("/v1/chats") && !exact.matches("/v1"));
    assert!(pattern("/*").matches("/") && pattern("/*").matches("/any/thing"));
    assert!(pattern("/").matches("/") && !pattern("/").matches("/x"));
}

#[test]
fn a_path_is_compared_decoded_and_never_read_in_two_ways() {
    assert_eq!(read_path("/v1/%63hat").as_deref(), Some("/v1/chat"));
    assert_eq!(read_path("/").as_deref(), Some("/"));
    assert_eq!(read_path("/a%20b/").as_deref(), Some("/a b/"));
    assert_eq!(read_path("/a;v=1/..b/c..").as_deref(), Some("/a;v=1/..b/c.."));
    assert_eq!(read_path("/caf%C3%A9").as_deref(), Some("/café"));
    for path in [
        "",
        "v1",
        "*",
        "//",
        "//v1/x",
        "/v1//x",
        "/v1/x//",
        "/free/../v1/x",
        "/free/%2e%2E/v1/x",
        "/./v1",
        "/v1/.",
        "/free%2f..%2fv1",
        "/free/%5c..",
        "/a\\b",
        "/a%00",
        "/a%0a",
        "/a%",
        "/a%4",
        "/a%zz",
        "/%252e%252e/x",
        "/%ff",
        "/free/..;/v1/x",
        "/free/.;a=1/x",
        "/free/;/x",
    ] {
        assert_eq!(read_path(path), None, "{path}");
    }
}

fn raw(path: &str, methods: Option<&[&str]>) -> raw::Route {
    raw::Route {
        transport: None,
        path: path.into(),
        methods: methods.map(|names| names.iter().map(|name| (*name).into()).collect()),
        free: false,
        amount: Some("25".into()),
        unit: Some("llm_token".into()),
        meter: Some("request".into()),
        bytes_per_unit: None,
        input_weight: None,
        output_weight: None,
        tokens_per_unit: None,
        units_header: None,
        reserve_units: None,
        tokens: None,
        suggested_deposit: None,
        description: None,
        bind_body: false,
        opaque: None,
        stripe: None,
        x402: None,
        charge: None,
        sponsored: true,
        paid_empty_post: false,
    }
}

fn build(entries: &[raw::Route]) -> Result<Routes, Vec<String>> {
    let mut problems = Problems::new(Default::default());
    let built = routes(entries, &mut problems);
    let problems: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(built.expect("no problem, so routes")) } else { Err(problems) }
}

#[test]
fn the_first_match_decides() {
    let routes =
        build(&[raw("/v1/chat", Some(&["POST"])), raw("/v1/*", Some(&["GET"])), raw("/v2/*", None)]).unwrap();
    let place = |method: Method, path: &str| match routes.find(&method, path) {
        Found::Route(index, _) => Ok(index),
        Found::OtherMethods(methods) => Err(methods.len()),
        Found::Nothing => Err(0),
    };
    assert_eq!(place(Method::POST, "/v1/chat"), Ok(0));
    assert_eq!(place(Method::GET, "/v1/chat"), Ok(1));
    assert_eq!(place(Method::DELETE, "/v1/chat"), Err(2));
    assert_eq!(place(Method::POST, "/v1/x"), Err(1));
    assert_eq!(place(Method::DELETE, "/v2"), Ok(2));
    assert_eq!(place(Method::GET, "/"), Err(0));
}

#[test]
fn a_route_that_is_never_reached_is_refused() {
    let never = "route[1].path: found \"/v1/chat\", which is never reached, expected no earlier route that takes the \
                 same requests (/v1/* does)";
    assert_eq!(build(&[raw("/v1/*", None), raw("/v1/chat", None)]), Err(vec![never.into()]));
    assert!(build(&[raw("/v1/chat", None), raw("/v1/chat/", None)]).is_err());
    assert!(build(&[raw("/*", None), raw("/", None)]).is_err());
    assert!(build(&[raw("/v1/*", Some(&["GET", "POST"])), raw("/v1/*", Some(&["POST"]))]).is_err());
    assert!(build(&[raw("/v1/*", Some(&["POST"])), raw("/v1/*", Some(&["GET", "POST"]))]).is_ok());
    assert!(build(&[raw("/v1/chat", None), raw("/v1/*", None)]).is_ok());
}

#[test]
fn a_free_route_states_no_price() {
    let free = raw::Route { free: true, amount: None, unit: None, meter: None, ..raw("/about", None) };
    assert_eq!(build(std::slice::from_ref(&free)).unwrap().as_slice()[0].fare, Fare::Free);
    assert!(
        build(&[raw::Route { charge: Some("25".into()), ..free.clone() }]).is_err(),
        "a charge is a price"
    );
    let both = raw::Route { amount: Some("25".into()), ..free };
    assert_eq!(
        build(&[both]),
        Err(vec!["route[0].amount: found \"25\", expected no price on a route with free = true".into()])
    );
}

#[test]
fn a_suggested_deposit_pays_at_least_one_unit() {
    let small = raw::Route { suggested_deposit: Some("24".into()), ..raw("/v1/*", None) };
    assert_eq!(
        build(&[small]),
        Err(vec![
            "route[0].suggested_deposit: found \"24\", expected at least the price of one unit, 25".into()
        ])
    );
}

fn price_of(change: impl FnOnce(&mut raw::Route)) -> Result<Price, Vec<String>> {
    let mut entry = raw("/v1/*", None);
    change(&mut entry);
    match &build(&[entry])?.as_slice()[0].fare {
        Fare::Paid(price) => Ok((**price).clone()),
        Fare::Free => panic!("it has a price"),
    }
}

#[test]
fn every_meter_is_read_with_its_own_keys() {
    let meter = |name: &str, change: fn(&mut raw::Route)| {
        price_of(|route| {
            route.meter = Some(name.into());
            change(route);
        })
        .map(|price| price.meter)
    };
    let number = |value: u64| NonZeroU64::new(value).unwrap();
    assert_eq!(meter("request", |_| ()), Ok(Meter::Request));
    assert_eq!(meter("sse_event", |_| ()), Ok(Meter::SseEvent));
    assert_eq!(meter("bytes", |_| ()), Ok(Meter::Bytes { bytes_per_unit: number(1_000) }));
    assert_eq!(
        meter("bytes", |route| route.bytes_per_unit = Some(7)),
        Ok(Meter::Bytes { bytes_per_unit: number(7) })
    );
    assert_eq!(meter("openai_usage", |_| ()), Ok(Meter::OpenAiUsage(TokenRates::default())));
    let rates = TokenRates { input_weight: 1, output_weight: 4, tokens_per_unit: number(1_000) };
    let weighed = |route: &mut raw::Route| {
        (route.output_weight, route.tokens_per_unit) = (Some(4), Some(1_000));
    };
    assert_eq!(meter("openai_usage", weighed), Ok(Meter::OpenAiUsage(rates)));
    let named = |route: &mut raw::Route| route.units_header = Some("X-Units".into());
    assert_eq!(meter("header", named), Ok(Meter::Header(http::HeaderName::from_static("x-units"))));

    for (name, change, refusal) in [
        ("byte", (|_| ()) as fn(&mut raw::Route), "route[0].meter: found \"byte\", expected \"request\", "),
        (
            "bytes",
            |route| route.bytes_per_unit = Some(0),
            "route[0].bytes_per_unit: found 0, expected a whole",
        ),
        (
            "request",
            |route| route.bytes_per_unit = Some(5),
            "route[0].bytes_per_unit: found a value, expected no such key with this meter",
        ),
        (
            "bytes",
            |route| route.units_header = Some("x".into()),
            "route[0].units_header: found a value, expected no such key with this meter",
        ),
        ("header", |_| (), "route[0].units_header: found nothing, expected the name of a response header"),
        (
            "header",
            |route| route.units_header = Some("payment-receipt".into()),
            "route[0].units_header: found \"payment-receipt\", expected the name of a response header",
        ),
        (
            "openai_usage",
            |route| (route.input_weight, route.output_weight) = (Some(0), Some(0)),
            "route[0].output_weight: found 0, expected",
        ),
    ] {
        let refusals = meter(name, change).unwrap_err();
        assert!(refusals.len() == 1 && refusals[0].starts_with(refusal), "{name}: {refusals:?}");
    }
}

#[test]
fn several_tokens_each_have_their_price() {
    let entry = |token: &str, amount: &str| raw::TokenPrice {
        token: token.into(),
        amount: amount.into(),
        suggested_deposit: None,
    };
    let token = "0x20c0000000000000000000000000000000000001";
    let read = price_of(|route| route.tokens = Some(vec![entry(token, "7")])).unwrap();
    let price = TokenPrice { token: token.parse().unwrap(), price: Amount::new(7), suggested_deposit: None };
    assert_eq!(read.tokens, [price]);
    for (entries, refusal) in [
        (vec![entry("0x1", "7")], "route[0].tokens[0].token: found \"0x1\", expected a nonzero address"),
        (vec![entry(token, "0")], "route[0].tokens[0].amount: found \"0\", expected an amount"),
        (
            vec![entry(token, "1"), entry(token, "2")],
            "route[0].tokens[1].token: found a token that is listed before, expected each token once",
        ),
    ] {
        let refusals = price_of(|route| route.tokens = Some(entries)).unwrap_err();
        assert!(refusals.len() == 1 && refusals[0].starts_with(refusal), "{refusals:?}");
    }
}

#[test]
fn own_words_are_few_and_short() {
    let words = |count: usize, length: usize| -> BTreeMap<String, String> {
        (0..count).map(|index| (format!("k{index}"), "x".repeat(length))).collect()
    };
    assert_eq!(price_of(|route| route.opaque = Some(words(3, 5))).unwrap().opaque, words(3, 5));
    assert!(price_of(|route| route.opaque = Some(words(17, 1))).is_err());
    assert!(price_of(|route| route.opaque = Some(words(1, 1_024))).is_err());
    assert!(price_of(|route| route.opaque = Some([("a b".into(), "x".into())].into())).is_err());
}

#[test]
fn a_transport_goes_with_what_is_counted() {
    let transport = |name: Option<&str>, meter: &str| {
        let (transport, meter) = (name.map(str::to_owned), Some(meter.to_owned()));
        let built = build(&[raw::Route { transport, meter, ..raw("/v1/*", None) }])?;
        Ok::<_, Vec<String>>(built.as_slice()[0].transport)
    };
    assert_eq!(transport(None, "request"), Ok(Transport::Http));
    assert_eq!(transport(Some("websocket"), "request"), Ok(Transport::WebSocket));
    assert_eq!(transport(Some("websocket"), "websocket_message"), Ok(Transport::WebSocket));
    assert_eq!(transport(Some("mcp"), "request"), Ok(Transport::Mcp));
    for (name, meter) in [
        (None, "websocket_message"),
        (Some("http"), "websocket_message"),
        (Some("mcp"), "websocket_message"),
        (Some("mcp"), "sse_event"),
        (Some("websocket"), "sse_event"),
        (Some("grpc"), "request"),
    ] {
        let problems = transport(name, meter).unwrap_err();
        assert!(problems[0].starts_with("route[0].transport: found "), "{problems:?}");
    }
    let free = raw::Route { free: true, amount: None, unit: None, meter: None, ..raw("/about", None) };
    let socket = raw::Route { transport: Some("websocket".into()), ..free.clone() };
    assert_eq!(build(&[socket]).unwrap().as_slice()[0].transport, Transport::WebSocket);
    assert!(build(&[raw::Route { transport: Some("mcp".into()), ..free }]).is_err(), "a price for calls");
    let bound = raw::Route { transport: Some("mcp".into()), bind_body: true, ..raw("/mcp", None) };
    assert!(build(&[bound]).is_err(), "the credential of a call is in its body");
    for name in ["websocket", "mcp"] {
        let (transport, charge) = (Some(name.to_owned()), Some("100".to_owned()));
        let charged = raw::Route { transport, charge, ..raw("/v1/*", None) };
        let problems = build(&[charged]).unwrap_err();
        assert!(problems[0].starts_with("route[0].transport: found "), "{problems:?}");
    }
}
