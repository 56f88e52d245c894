//! The manual: every link leads somewhere, every page is in the book, every piece of configuration is one, every command that
//! is named exists.

mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use program::{command, end_of, farebox};

const SECRET: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// What a configuration needs beside its routes.
const FRAME: &str = "[server]\nrealm = \"test\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n\
    [chain]\nrpc = [\"http://127.0.0.1:9\"]\nid = 31337\n\
    [payee]\naddress = \"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\n\
    token = \"0x20c0000000000000000000000000000000000000\"\nkey_file = \"payee.key\"\n\
    [ledger]\nkind = \"rocksdb\"\npath = \"data\"\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown page of the repository that people read.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in [
        "",
        "docs",
        "docs/benchmarks",
        "docs/decisions",
        "examples",
        "examples/llm-gateway",
        "examples/node-service",
        "examples/python-client",
    ] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

/// Fenced blocks of a kind.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            if info == kind {
                found.push(block.join("\n"));
            }
        }
    }
    found
}

/// A heading as its anchor.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut troubles = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let (path, heading) =
                target.split_once('#').map_or((target, None), |(path, id)| (path, Some(id)));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            if !file.exists() {
                troubles.push(format!("{}: {target}", page.display()));
            } else if let Some(id) = heading {
                let headings = fs::read_to_string(&file).unwrap();
                let mut headings = headings.lines().filter_map(|line| line.strip_prefix('#'));
                if !headings.any(|heading| anchor(heading.trim_start_matches('#')) == id) {
                    troubles.push(format!("{}: no heading {target}", page.display()));
                }
            }
        }
    }
    assert!(troubles.is_empty(), "{troubles:#?}");
}

#[test]
fn every_page_is_in_the_book_once() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: Vec<&str> = summary.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    let listed: Vec<&str> = listed.into_iter().filter(|path| !path.is_empty()).collect();
    let distinct: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "a page is listed twice");
    for page in pages() {
        if let Ok(name) = page.strip_prefix(root().join("docs")) {
            let name = name.to_str().unwrap();
            assert!(name == "SUMMARY.md" || distinct.contains(name), "{name} is not in docs/SUMMARY.md");
        }
    }
}

#[test]
fn every_piece_of_configuration_is_one() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in blocks(&text, "toml") {
            if !block.contains("[[route]]") {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            // Tables of the block take the place of the frame's.
            let frame: String = FRAME
                .split_inclusive('\n')
                .scan(false, |skips, line| {
                    if line.starts_with('[') {
                        *skips = block.contains(line.trim());
                    }
                    Some(if *skips { "" } else { line })
                })
                .collect();
            let payee = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
            let block = block.replace("0x…", payee);
            let block = if block.contains("[payee]") && !block.contains("token = ") {
                block.replace("[payee]", "[payee]\ntoken = \"0x20c0000000000000000000000000000000000000\"")
            } else {
                block
            };
            let config = folder.path().join("farebox.toml");
            fs::write(&config, format!("{frame}\n{block}\n")).unwrap();
            let key = folder.path().join("payee.key");
            fs::write(&key, SECRET).unwrap();
            std::process::Command::new("chmod").arg("600").arg(&key).status().unwrap();
            let check = end_of(command(&["serve", "--check-config", "-c", config.to_str().unwrap()]), b"");
            assert_eq!(check.code, 0, "{}: {check:?}\n{block}", page.display());
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked}");
}

#[test]
fn every_command_that_is_named_exists() {
    let help = farebox(&["--help"]).stdout;
    let known: BTreeSet<&str> = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let shells = ["console", "sh"].map(|kind| blocks(&text, kind).join("\n")).join("\n");
        let inline = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.starts_with("farebox "))
            .collect::<Vec<_>>();
        let lines = shells.lines().map(|line| line.trim_start_matches("$ ").trim()).chain(inline);
        for line in lines {
            let line = line.strip_prefix("sudo -u farebox ").unwrap_or(line);
            let Some(rest) = line.strip_prefix("farebox ") else { continue };
            let name = rest.split_whitespace().next().unwrap_or_default();
            let is_command = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_command && !name.starts_with('-') {
                assert!(known.contains(name), "{}: farebox {name}", page.display());
            }
        }
    }
}
