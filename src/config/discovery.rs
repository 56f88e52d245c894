//! `[discovery]`: what is said to who looks for a service to pay.

use super::expected::expected;
use super::problem::{Problems, quoted};
use super::{parse, raw, route};

/// The most categories of a service.
const CATEGORIES_MAX: usize = 5;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// What `/openapi.json` says beside the routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The name of the service; the realm when it has none of its own.
    pub title: Option<String>,
    /// The version of its interface.
    pub version: String,
    /// What kind of service it is.
    pub categories: Vec<String>,
    /// Where people read about it.
    pub homepage: Option<String>,
    /// Where its interface is described.
    pub api_reference: Option<String>,
    /// Where it is described for language models.
    pub llms: Option<String>,
    /// Where the upstream has a document of its own.
    pub upstream_document: Option<String>,
}

/// The table of the file; `None` inside when there is none.
pub(super) fn discovery(raw: Option<&raw::Discovery>, problems: &mut Problems) -> Option<Option<Discovery>> {
    let Some(raw) = raw else { return Some(None) };
    let mut text = |key: &str, value: &Option<String>, read: fn(&str) -> Option<String>| match value {
        None => Some(None),
        Some(value) => problems.check(key, value, expected(key), read).map(Some),
    };
    let title = text("discovery.title", &raw.title, words);
    let version = text("discovery.version", &Some(raw.version.clone()), words);
    let homepage = text("discovery.homepage", &raw.homepage, link);
    let api_reference = text("discovery.api_reference", &raw.api_reference, link);
    let llms = text("discovery.llms", &raw.llms, link);
    let upstream_document = text("discovery.upstream_document", &raw.upstream_document, path);
    let categories = &raw.categories;
    if categories.len() > CATEGORIES_MAX || categories.iter().any(|word| parse::unit(word).is_none()) {
        let key = "discovery.categories";
        problems.add(key, quoted(&categories.join(", ")), expected(key));
        return None;
    }
    Some(Some(Discovery {
        title: title?,
        version: version??,
        categories: categories.clone(),
        homepage: homepage?,
        api_reference: api_reference?,
        llms: llms?,
        upstream_document: upstream_document?,
    }))
}

fn words(text: &str) -> Option<String> {
    let is_fine = !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX;
    (is_fine && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn link(text: &str) -> Option<String> {
    let starts = ["https://", "http://", "/"].iter().any(|start| text.starts_with(start));
    let is_fine = starts && text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_fine.then(|| text.to_owned())
}

fn path(text: &str) -> Option<String> {
    link(text).filter(|path| route::read_path(path).as_deref() == Some(path.as_str()))
}
