//! The file and the environment, merged into [`Raw`].
//!
//! A variable `FAREBOX__SERVER__LISTEN` sets `server.listen`, `FAREBOX__ROUTE__0__AMOUNT` the amount of the
//! first route (an index one past the end adds an entry), and a value that starts with `[` is a list. The
//! environment wins over the file.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::expected::expected;
use super::problem::{ConfigError, Problem, Problems, quoted};
use super::raw::Raw;

/// What a variable's name starts with.
const PREFIX: &str = "FAREBOX__";
/// What stands between the parts of a key's path in a variable's name.
const SEPARATOR: &str = "__";

/// The merged text, and a collector of problems that knows which variable set what.
pub(super) struct Loaded {
    pub raw: Raw,
    pub problems: Problems,
}

/// Merges the file's `text` with the variables.
pub(super) fn merge(
    path: &Path,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let data = Toml::string(text)
        .data()
        .map_err(|error| ConfigError::Syntax { path: path.into(), what: error.kind.to_string() })?;
    let mut root = Value::from(data.into_values().next().unwrap_or_default());
    let mut variables = BTreeMap::new();
    let mut misplaced = Vec::new();
    for (key, variable, value) in sorted(environment) {
        let name = shown(&key);
        match set(&mut root, &key, leaf(&value)) {
            Ok(()) => {
                variables.insert(name, variable);
            }
            Err(found) => misplaced.push(Problem {
                key: name,
                variable: Some(variable),
                found,
                expected: "a key of the configuration".into(),
            }),
        }
    }
    if !misplaced.is_empty() {
        return Err(ConfigError::Invalid { path: path.into(), problems: misplaced });
    }
    match Figment::from(Merged(root)).extract_lossy::<Raw>() {
        Ok(raw) => Ok(Loaded { raw, problems: Problems::new(variables) }),
        Err(error) => Err(ConfigError::Invalid { path: path.into(), problems: explain(error, &variables) }),
    }
}

/// One step of a key's path. Indices sort as numbers, so that entries are added in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

type Override = (Vec<Step>, String, String);

/// The variables that are ours, in the order of their keys.
fn sorted(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut overrides: Vec<Override> = environment
        .into_iter()
        .filter_map(|(variable, value)| {
            let key = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
            let steps = key.split(SEPARATOR).map(|step| match step.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Key(step.into()),
            });
            Some((steps.collect(), variable, value))
        })
        .collect();
    overrides.sort();
    overrides
}

/// A path as people write it: `route[0].amount`.
fn shown(key: &[Step]) -> String {
    let mut text = String::new();
    for step in key {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(name) if text.is_empty() => text.push_str(name),
            Step::Key(name) => text.push_str(&format!(".{name}")),
        }
    }
    text
}

/// A variable's value: a list when it looks like one, else a text (numbers and booleans are read from texts).
fn leaf(text: &str) -> Value {
    let list = text.starts_with('[').then(|| toml_list(text)).flatten();
    list.unwrap_or_else(|| Value::from(text))
}

/// A list as TOML writes it.
fn toml_list(text: &str) -> Option<Value> {
    let data = Toml::string(&format!("list = {text}")).data().ok()?;
    data.into_values().next()?.into_values().next()
}

/// Sets the value at `key`; says what is in the way when there is no such place.
fn set(place: &mut Value, key: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = key.split_first() else {
        *place = value;
        return Ok(());
    };
    match (place, step) {
        (Value::Dict(_, dict), Step::Key(name)) => {
            let empty = match rest.first() {
                Some(Step::Index(_)) => Value::from(Vec::<Value>::new()),
                _ => Value::from(Dict::new()),
            };
            set(dict.entry(name.clone()).or_insert(empty), rest, value)
        }
        (Value::Array(_, list), Step::Index(index)) => {
            if *index == list.len() {
                list.push(Value::from(Dict::new()));
            }
            let length = list.len();
            match list.get_mut(*index) {
                Some(entry) => set(entry, rest, value),
                None => Err(format!("entry {index} of a list of {length}")),
            }
        }
        (Value::Dict(..), Step::Index(_)) => Err("an entry of something that is no list".into()),
        (Value::Array(..), Step::Key(_)) => Err("a name where a list has numbers".into()),
        _ => Err("a key inside a value".into()),
    }
}

/// The merged values as figment wants them.
struct Merged(Value);

impl Provider for Merged {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = self.0.clone().into_dict().unwrap_or_default();
        Ok([(Profile::Default, dict)].into())
    }
}

/// figment's errors in our words.
fn explain(error: figment::Error, variables: &BTreeMap<String, String>) -> Vec<Problem> {
    error.into_iter().map(|error| explain_one(&error, variables)).collect()
}

fn explain_one(error: &figment::Error, variables: &BTreeMap<String, String>) -> Problem {
    let mut steps: Vec<Step> = error
        .path
        .iter()
        .map(|step| step.parse().map_or_else(|_| Step::Key(step.clone()), Step::Index))
        .collect();
    let (found, wanted) = match &error.kind {
        Kind::UnknownField(_, known) => ("an unknown key".into(), format!("one of {}", known.join(", "))),
        Kind::MissingField(name) => {
            steps.push(Step::Key(name.to_string()));
            ("nothing".into(), expected(&shown(&steps)).into())
        }
        Kind::InvalidType(actual, _) | Kind::InvalidValue(actual, _) => {
            (describe(actual), expected(&shown(&steps)).into())
        }
        other => (other.to_string(), expected(&shown(&steps)).into()),
    };
    let key = shown(&steps);
    let variable = variables.get(&key).cloned();
    Problem { key, variable, found, expected: wanted }
}

/// A value of the wrong type, as an error shows it.
fn describe(actual: &Actual) -> String {
    match actual {
        Actual::Bool(value) => format!("the boolean {value}"),
        Actual::Unsigned(value) => format!("the number {value}"),
        Actual::Signed(value) => format!("the number {value}"),
        Actual::Float(value) => format!("the number {value}"),
        Actual::Str(value) => quoted(value),
        Actual::Seq => "a list".into(),
        Actual::Map => "a table".into(),
        other => other.to_string(),
    }
}
