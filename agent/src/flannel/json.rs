//! JSON objects as Go reads them: the case of a key does not matter, `null` is an absent value, and
//! unknown keys are ignored.

use netcord::model::Invalid;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An object whose keys are found in any case.
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// Parses the text of an object.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let value: Value = serde_json::from_slice(text).map_err(|e| not_json(&e))?;
        Self::of(value).ok_or_else(|| Invalid::new("it is not a JSON object"))
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    /// Returns a value, unless it is absent or null.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Invalid> {
        let Some(value) = self.find(key)? else { return Ok(None) };
        let invalid = |e| Invalid::new(format!("`{key}` cannot be {value}: {}", reason(&e)));
        serde_json::from_value(value.clone()).map(Some).map_err(invalid)
    }

    /// Returns the object under a key.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, Invalid> {
        let Some(value) = self.find(key)? else { return Ok(None) };
        let object = Self::of(value.clone());
        object.map(Some).ok_or_else(|| Invalid::new(format!("`{key}` is not a JSON object")))
    }

    /// Go would take the last of several; here the order is lost, so they are refused.
    fn find(&self, key: &str) -> Result<Option<&Value>, Invalid> {
        let mut found = self.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
        let first = found.next();
        match (first, found.next()) {
            (Some((a, _)), Some((b, _))) => {
                Err(Invalid::new(format!("it has both `{a}` and `{b}`")))
            }
            (first, _) => Ok(first.map(|(_, value)| value).filter(|value| !value.is_null())),
        }
    }
}

fn not_json(error: &serde_json::Error) -> Invalid {
    Invalid::new(format!("it is not JSON: {}", reason(error)))
}

/// serde's reason, without the position that it adds where it has none.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.strip_suffix(" at line 0 column 0").unwrap_or(&text).to_owned()
}
