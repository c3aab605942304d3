//! The paths of modules that a source text names, in `use` and in expressions.

/// Every path from the crate, this module or a parent: `use super::{a::b, c}` names two.
pub(crate) fn paths(text: &str) -> Vec<Vec<String>> {
    paths_from(text, &["crate", "netcord", "self", "super"])
}

/// Every path that begins with one of these names.
pub(crate) fn paths_from(text: &str, roots: &[&str]) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_first = at == 0 || !matches!(tokens[at - 1].as_str(), "::" | "in" | "(");
        let leads_on = tokens.get(at + 1).is_some_and(|next| next == "::");
        if roots.contains(&tokens[at].as_str()) && leads_on && (is_first || is_call(&tokens, at)) {
            found.extend(tree(&tokens, &mut at));
        } else {
            at += 1;
        }
    }
    found
}

/// Whether a text declares modules and exports them, and nothing else.
pub(crate) fn only_declares(text: &str) -> bool {
    const ITEMS: [&str; 8] = ["fn", "struct", "enum", "impl", "const", "static", "trait", "type"];
    tokens(text).iter().all(|token| !ITEMS.contains(&token.as_str()))
}

/// An argument, `f(super::a::B)`, and not a visibility, `pub(super)` or `pub(in super::a)`.
fn is_call(tokens: &[String], at: usize) -> bool {
    tokens[at - 1] == "(" && at > 1 && tokens[at - 2] != "pub"
}

/// The paths of `a::{b, c::d}`; `at` moves behind them.
fn tree(tokens: &[String], at: &mut usize) -> Vec<Vec<String>> {
    let mut path = Vec::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        if token == "{" {
            let inner = group(tokens, at).into_iter();
            // `a::{self}` is `a`.
            let inner = inner.map(|rest| if rest == ["self"] { Vec::new() } else { rest });
            return inner.map(|rest| [path.clone(), rest].concat()).collect();
        }
        path.extend(Some(token.clone()).filter(|token| token.starts_with(is_word)));
        match tokens.get(*at).map(String::as_str) {
            Some("::") => *at += 1,
            Some("as") => {
                *at += 2;
                break;
            }
            _ => break,
        }
    }
    vec![path]
}

fn group(tokens: &[String], at: &mut usize) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            "}" => {
                *at += 1;
                break;
            }
            "," => *at += 1,
            _ => all.extend(tree(tokens, at)),
        }
    }
    all
}

/// Words, `::` and single characters; without comments, strings and blanks.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let token = &rest[..length];
        if !(first.is_whitespace() || token.len() > 2 && !token.starts_with(is_word)) {
            tokens.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut escaped = true;
    for (i, c) in text.char_indices() {
        if c == '"' && !escaped {
            return i + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// The length of a character literal; of a lifetime, its quote.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let escaped = chars.next().is_some_and(|(_, c)| c == '\\');
    let end = chars.nth(usize::from(escaped));
    end.filter(|(_, c)| *c == '\'').map_or(1, |(i, _)| i + 1)
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
