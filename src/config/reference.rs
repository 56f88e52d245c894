//! The page docs/configuration.md, made from the types that read the file: their fields, their words for people, and what each
//! key must hold. Defaults are those of the example, which a test beside this one holds to the program's own.
//!
//! `FAREBOX_WRITE_DOCS=1 cargo test --bin farebox reference` writes the page anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::expected::expected;

const RAW: &str = include_str!("raw.rs");
const EXAMPLE: &str = include_str!("../../farebox.example.toml");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

const HEAD: &str = "# Configuration

One TOML file; `farebox serve -c FILE --check-config` says what is wrong with it, with the key, what was found and what is
expected. Unknown keys are refused. Relative paths are taken from the file's folder. Amounts are base units in quotes;
1,000,000 are one token of a TIP-20 with six decimals.

Every key can be set by the environment, which wins over the file: `FAREBOX__SERVER__LISTEN` sets `listen` in `[server]`,
`FAREBOX__ROUTE__0__AMOUNT` the price of the first route, and a value that begins with `[` is a list.

This page is made from the program's types. `farebox.example.toml` is a whole file with comments.
";

/// A table of the configuration.
struct Table {
    name: String,
    what: String,
    keys: Vec<(String, String, bool)>,
}

/// The tables of `raw.rs`: a structure whose words begin with `[name]`.
fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut has_default = false;
    let mut is_inside = false;
    for line in RAW.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            words.push(text.trim());
            continue;
        }
        if line.starts_with("#[") {
            has_default |= line.contains("serde(default");
            continue;
        }
        let text = words.join(" ");
        if line.starts_with("pub(super) struct") {
            let named = text.strip_prefix('`').and_then(|text| text.split_once("`: "));
            is_inside = named.is_some();
            if let Some((name, what)) = named {
                let (name, what) = (name.to_owned(), what.to_owned());
                tables.push(Table { name, what, keys: Vec::new() });
            }
        } else if line == "}" {
            is_inside = false;
        } else if is_inside
            && let Some((name, kind)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": "))
        {
            let is_optional = has_default || kind.starts_with("Option<");
            tables.last_mut().expect("a table is open").keys.push((name.to_owned(), text, is_optional));
        }
        words.clear();
        has_default = false;
    }
    tables
}

/// The values of the example by key: of those that are commented out, the default; of the others, an example.
fn example() -> BTreeMap<String, (String, bool)> {
    let mut values = BTreeMap::new();
    let mut table = String::new();
    for line in EXAMPLE.lines() {
        let is_off = line.starts_with("# ");
        let line = line.strip_prefix("# ").unwrap_or(line).trim();
        let code = line.split(" #").next().unwrap_or_default().trim();
        if let Some(name) = code.strip_prefix('[').and_then(|code| code.strip_suffix(']'))
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"[]_".contains(&byte))
        {
            table = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((name, value)) = code.split_once(" = ")
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !line.contains("absent = ")
        {
            values.entry(format!("{table}.{name}")).or_insert_with(|| (value.to_owned(), is_off));
        }
    }
    values
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn page() -> String {
    let example = example();
    let mut page = HEAD.to_owned();
    for Table { name, what, keys } in tables() {
        let plain = name.trim_matches(['[', ']']).to_owned();
        let path = if name.starts_with("[[") { format!("{plain}[]") } else { plain.clone() };
        let what = what.split(". ").next().unwrap_or(&what).trim_end_matches('.');
        let mut letters = what.chars();
        let what: String =
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
        write!(
            page,
            "\n## `{name}`\n\n{what}.\n\n| key | holds | default | what it is |\n|---|---|---|---|\n"
        )
        .unwrap();
        for (key, words, is_optional) in keys {
            let default = match example.get(&format!("{plain}.{key}")) {
                Some((value, true)) if !value.contains("...") && !value.contains("…") => {
                    format!("`{value}`")
                }
                // A payee's key is a file or a service: neither by itself.
                Some((value, false)) if !is_optional || ["route", "payee"].contains(&plain.as_str()) => {
                    format!("(such as `{value}`)")
                }
                Some((value, false)) => format!("`{value}`"),
                _ => "none".to_owned(),
            };
            let default = if is_optional || default != "none" { default } else { "needed".to_owned() };
            let holds = expected(&format!("{path}.{key}"));
            writeln!(page, "| `{key}` | {} | {} | {} |", cell(holds), cell(&default), cell(&words)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_that_of_these_types() {
    let page = page();
    for table in tables() {
        for (key, ..) in &table.keys {
            assert!(page.contains(&format!("| `{key}` |")), "{key}");
        }
    }
    if std::env::var_os("FAREBOX_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let remedy =
        "docs/configuration.md is not current: FAREBOX_WRITE_DOCS=1 cargo test --bin farebox reference";
    assert!(written == page, "{remedy}");
}

#[test]
fn every_key_says_what_it_holds() {
    for Table { name, keys, .. } in tables() {
        assert!(!keys.is_empty(), "{name}");
        let plain = name.trim_matches(['[', ']']);
        let path = if name.starts_with("[[") { format!("{plain}[]") } else { plain.to_owned() };
        for (key, ..) in keys {
            let path = format!("{path}.{key}");
            assert_ne!(expected(&path), "a value of another type", "{path} has no words in expected.rs");
        }
    }
}
