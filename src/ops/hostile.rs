//! Input that nobody should send, for the unit tests of the faces.

use proptest::prelude::*;
use serde_json::Value;

/// How many inputs are tried: at least 2000, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(2000), failure_persistence: None, ..usual }
}

/// Any bytes.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

/// One of these values, with one character or, more often, anything that is JSON in one place.
pub(crate) fn damaged(values: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let value = (prop::sample::select(values.clone()), any::<prop::sample::Index>(), json());
    let text = (prop::sample::select(values), any::<prop::sample::Index>(), any::<u8>());
    prop_oneof![
        4 => value.prop_map(|(value, place, other)| replaced(value, place, other)),
        1 => text.prop_map(|(value, place, other)| {
            let mut text = value.to_string().into_bytes();
            let at = place.index(text.len());
            text[at] = other;
            text
        }),
    ]
}

fn replaced(mut value: Value, place: prop::sample::Index, other: Value) -> Vec<u8> {
    let mut all = Vec::new();
    places(&value, "", &mut all);
    if let Some(there) = value.pointer_mut(&all[place.index(all.len())]) {
        *there = other;
    }
    value.to_string().into_bytes()
}

/// Any JSON.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[0-9a-f:./]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,12}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The places of a value, as JSON pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            places(inner, &format!("{at}/{key}"), all);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, inner)| places(inner, &format!("{at}/{i}"), all));
        }
        _ => {}
    }
}
