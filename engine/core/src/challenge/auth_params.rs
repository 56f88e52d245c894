//! `WWW-Authenticate` syntax (RFC 9110, section 11): challenges, auth-params, quoted strings.

use alloc::string::String;
use alloc::vec::Vec;

use super::SCHEME;

/// The parameters of one challenge, names in lowercase.
pub(super) type Params = Vec<(String, String)>;

/// Appends `name="value"`, with quotes and backslashes escaped.
///
/// The callers' values are visible ASCII by their types; anything else would not be a header value and is
/// replaced by `?`.
pub(super) fn push(header: &mut String, name: &str, value: &str) {
    header.push_str(if header.ends_with(SCHEME) { " " } else { ", " });
    header.push_str(name);
    header.push_str("=\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                header.push('\\');
                header.push(character);
            }
            ' '..='~' => header.push(character),
            _ => header.push('?'),
        }
    }
    header.push('"');
}

/// The `Payment` challenges of one header value, which may hold others too. `None` when the text is not a
/// list of challenges or repeats a parameter.
pub(super) fn parse(header: &str) -> Option<Vec<Params>> {
    let mut challenges = Vec::new();
    let mut rest = skip(header);
    while !rest.is_empty() {
        let (scheme, after) = token(rest)?;
        let after = after.trim_start_matches([' ', '\t']);
        let (params, after) = match token68(after) {
            Some(after) => (Params::new(), after),
            None => params(after)?,
        };
        if scheme.eq_ignore_ascii_case(SCHEME) {
            challenges.push(params);
        }
        rest = skip(after);
    }
    Some(challenges)
}

/// What follows a token68 (`Negotiate abc==`), if that is what a scheme carries instead of parameters.
fn token68(text: &str) -> Option<&str> {
    let is_digit = |character: char| character.is_ascii_alphanumeric() || "-._~+/".contains(character);
    let digits = text.trim_start_matches(is_digit);
    let after = digits.trim_start_matches('=').trim_start_matches([' ', '\t']);
    (after.is_empty() || after.starts_with(',')).then_some(after)
}

/// Parameters up to the next scheme or the end.
fn params(mut text: &str) -> Option<(Params, &str)> {
    let mut params = Params::new();
    loop {
        let (name, after) = token(text)?;
        let after = after.trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix('=') else {
            // A name without a value begins the next challenge.
            return Some((params, text));
        };
        let value = value.trim_start_matches([' ', '\t']);
        let (value, after) = match value.strip_prefix('"') {
            Some(value) => quoted(value)?,
            None => token(value).map(|(value, after)| (value.into(), after))?,
        };
        let name = name.to_ascii_lowercase();
        if params.iter().any(|(known, _)| *known == name) {
            return None;
        }
        params.push((name, value));
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        text = skip(after);
        if text.is_empty() {
            return Some((params, text));
        }
    }
}

/// The rest of a quoted string, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// A token and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let length = text.bytes().take_while(|byte| is_tchar(*byte)).count();
    (length > 0).then(|| text.split_at(length))
}

/// Skips separators between list elements.
fn skip(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
}
