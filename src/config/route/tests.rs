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
        path: path.into(),
        methods: methods.map(|names| names.iter().map(|name| (*name).into()).collect()),
        free: false,
        amount: Some("25".into()),
        unit: Some("llm_token".into()),
        meter: Some("request".into()),
        suggested_deposit: None,
        description: None,
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
