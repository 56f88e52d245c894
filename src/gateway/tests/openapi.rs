//! The document for clients that look for services.

use serde_json::{Value, json};

use super::*;
use crate::config::Discovery;

fn discovery(upstream_document: Option<&str>) -> Discovery {
    Discovery {
        title: Some("Models".into()),
        version: "2.0.0".into(),
        categories: vec!["compute".into()],
        homepage: Some("https://example.com".into()),
        api_reference: None,
        llms: None,
        upstream_document: upstream_document.map(Into::into),
    }
}

async fn shown(upstream_document: Option<&str>) -> (World, u16, Value) {
    let upstream = upstream::Upstream::start().await;
    let discovery = discovery(upstream_document);
    let world = World::start(&upstream.url, BOUNDS, |config| config.discovery = Some(discovery)).await;
    let seen = world.get("/openapi.json", None).await;
    let document = serde_json::from_str(&seen.body).unwrap();
    if seen.status == 200 {
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(seen.headers["cache-control"], "max-age=300");
    }
    drop(upstream);
    (world, seen.status, document)
}

#[tokio::test]
async fn without_a_table_there_is_no_document() {
    let (upstream, world) = world().await;
    assert_eq!(world.get("/openapi.json", None).await.status, 404);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn routes_are_shown_with_what_the_door_asks() {
    let (world, status, document) = shown(None).await;
    assert_eq!(status, 200);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"], json!({ "title": "Models", "version": "2.0.0" }));
    assert_eq!(document["x-service-info"]["categories"], json!(["compute"]));
    let chat = &document["paths"]["/v1/chat"]["get"];
    let offer = &chat["x-payment-info"]["offers"][0];
    assert_eq!((&offer["intent"], &offer["method"]), (&json!("session"), &json!("tempo")));
    let challenge = world.challenge("/v1/chat").await.decode_request().unwrap();
    assert_eq!(offer["amount"], json!(challenge.amount.get().to_string()), "what the challenge asks");
    assert_eq!(offer["currency"], json!(format!("{:#x}", challenge.currency)));
    assert!(chat["responses"].get("402").is_some());
    assert!(document["paths"]["/v1/{path}"]["post"].get("requestBody").is_some());
    assert!(document["paths"]["/free/{path}"]["get"].get("x-payment-info").is_none());
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn the_upstreams_own_document_is_shown_with_prices_and_without_what_is_not_served() {
    let (_, status, document) = shown(Some("/free/openapi")).await;
    assert_eq!(status, 200);
    assert_eq!(document["info"], json!({ "title": "Models", "version": "7" }));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["/v1/things/{id}"], "no route takes /admin");
    let get = &paths["/v1/things/{id}"]["get"];
    assert_eq!(get["summary"], "A thing");
    assert_eq!(get["x-payment-info"]["offers"][0]["amount"], "100", "ours, and not the upstream's");
    assert!(paths["/v1/things/{id}"].get("delete").is_none(), "no route takes the method");
    let (_, status, _) = shown(Some("/free/nothing")).await;
    assert_eq!(status, 502);
}
