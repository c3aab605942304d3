//! `--format '{{.Field}}'`: results through a Go template, as docker prints them.

use anyhow::Result;
use gtmpl_ng::{Context, Func, FuncError, NumberKind, Template as GoTemplate, Value};
use serde_json::{Map, Value as Json};

use crate::error::Error;

/// docker's functions that Go's templates do not have.
const FUNCTIONS: [(&str, Func); 6] = [
    ("json", json),
    ("join", join),
    ("split", split),
    ("lower", lower),
    ("upper", upper),
    ("truncate", truncate),
];

/// A template, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    /// Whether it is a row of a table (`table {{.Name}}\t{{.Driver}}`).
    pub(super) is_table: bool,
}

impl Template {
    pub(super) fn new(typed: &str) -> Self {
        let (is_table, text) = match typed.strip_prefix("table ") {
            Some(row) => (true, row),
            None => (false, typed),
        };
        // docker's command line takes these escapes, which a shell leaves in single quotes.
        Self { text: text.replace("\\t", "\t").replace("\\n", "\n"), is_table }
    }

    /// Fails if it cannot be parsed.
    pub(super) fn check(&self) -> Result<()> {
        self.parsed().map(drop)
    }

    fn parsed(&self) -> Result<GoTemplate> {
        let mut template = GoTemplate::default();
        template.add_funcs(&FUNCTIONS);
        template.parse(self.text.as_str()).map_err(|e| {
            Error::usage(format!("`{}` is no template: {e}", self.text))
                .hint("a field is `{{.Name}}`, the whole object `{{json .}}`")
        })?;
        Ok(template)
    }

    /// Returns the text for an object.
    ///
    /// # Errors
    /// If the object does not have a field.
    pub(super) fn render(&self, object: &Json) -> Result<String> {
        let rendered = self.parsed()?.render(&Context::from(value(object)));
        rendered.map_err(|error| {
            let text = error.to_string();
            let missing = text.split_once("no field `").and_then(|(_, rest)| rest.split_once('`'));
            let Some((field, _)) = missing else {
                return Error::usage(format!("the template failed: {text}")).into();
            };
            let names = object.as_object().into_iter().flat_map(Map::keys);
            let names = names.map(|name| format!(".{name}")).collect::<Vec<_>>().join(" ");
            Error::usage(format!("template: there is no field `{field}`"))
                .hint(format!("the fields are {names}"))
                .into()
        })
    }

    /// Returns the header of a table: the names of the fields.
    pub(super) fn header(&self) -> Vec<String> {
        let name = |cell: &str| {
            let field = cell.split('.').nth(1).unwrap_or_default();
            let end = field.find(|c: char| !c.is_alphanumeric() && c != '_');
            field[..end.unwrap_or(field.len())].to_uppercase()
        };
        self.text.split('\t').map(name).collect()
    }
}

/// An object's fields are known, so that a mistyped one is an error; other values are Go's.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(bool) => Value::from(*bool),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => Value::Array(values.iter().map(value).collect()),
        Json::Object(map) => {
            Value::Object(map.iter().map(|(key, one)| (key.clone(), value(one))).collect())
        }
    }
}

fn as_json(value: &Value) -> Json {
    match value {
        Value::Bool(bool) => Json::from(*bool),
        Value::String(text) => Json::from(text.as_str()),
        Value::Array(values) => values.iter().map(as_json).collect(),
        Value::Object(map) | Value::Map(map) => {
            let pairs = map.iter().map(|(key, value)| (key.clone(), as_json(value)));
            Json::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Number(number) => match number.kind() {
            NumberKind::Unsigned(number) => Json::from(number),
            NumberKind::Signed(number) => Json::from(number),
            NumberKind::Float(number) => Json::from(number),
        },
        _ => Json::Null,
    }
}

fn json(arguments: &[Value]) -> Result<Value, FuncError> {
    let [value] = arguments else { return Err(FuncError::ExactlyXArgs("json".into(), 1)) };
    Ok(Value::from(as_json(value).to_string()))
}

fn join(arguments: &[Value]) -> Result<Value, FuncError> {
    let [Value::Array(values), Value::String(between)] = arguments else {
        return Err(FuncError::ExactlyXArgs("join".into(), 2));
    };
    let texts = values.iter().map(|value| match value {
        Value::String(text) => text.clone(),
        other => as_json(other).to_string(),
    });
    Ok(Value::from(texts.collect::<Vec<_>>().join(between)))
}

fn split(arguments: &[Value]) -> Result<Value, FuncError> {
    let [Value::String(text), Value::String(at)] = arguments else {
        return Err(FuncError::ExactlyXArgs("split".into(), 2));
    };
    Ok(Value::Array(text.split(at.as_str()).map(Value::from).collect()))
}

fn lower(arguments: &[Value]) -> Result<Value, FuncError> {
    text("lower", arguments).map(|text| Value::from(text.to_lowercase()))
}

fn upper(arguments: &[Value]) -> Result<Value, FuncError> {
    text("upper", arguments).map(|text| Value::from(text.to_uppercase()))
}

fn truncate(arguments: &[Value]) -> Result<Value, FuncError> {
    let [Value::String(text), Value::Number(length)] = arguments else {
        return Err(FuncError::ExactlyXArgs("truncate".into(), 2));
    };
    let length = match length.kind() {
        NumberKind::Unsigned(length) => usize::try_from(length).unwrap_or(usize::MAX),
        NumberKind::Signed(length) => usize::try_from(length).unwrap_or_default(),
        NumberKind::Float(_) => return Err(FuncError::UnableToConvertFromValue),
    };
    Ok(Value::from(text.chars().take(length).collect::<String>()))
}

fn text<'a>(function: &str, arguments: &'a [Value]) -> Result<&'a str, FuncError> {
    match arguments {
        [Value::String(text)] => Ok(text),
        _ => Err(FuncError::ExactlyXArgs(function.into(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str) -> Result<String> {
        let object = json!({
            "Name": "lab0", "Mtu": 1500, "Internal": false, "Nothing": null,
            "IPAM": {"Config": [{"Subnet": "10.7.0.0/24"}, {"Subnet": "fd00::/64"}]},
            "addresses": ["10.7.0.2/24", "fd00::2/64"],
        });
        Template::new(template).render(&object)
    }

    #[test]
    fn a_template_is_gos() {
        for (template, text) in [
            ("{{.Name}}", "lab0"),
            ("{{ .Name }} {{ .Mtu }}", "lab0 1500"),
            ("{{json .Name}}", "\"lab0\""),
            ("{{json .IPAM}}", r#"{"Config":[{"Subnet":"10.7.0.0/24"},{"Subnet":"fd00::/64"}]}"#),
            ("{{range .IPAM.Config}}{{.Subnet}} {{end}}", "10.7.0.0/24 fd00::/64 "),
            ("{{(index .IPAM.Config 0).Subnet}}", "10.7.0.0/24"),
            ("{{index .addresses 1}}", "fd00::2/64"),
            ("{{join .addresses \", \"}}", "10.7.0.2/24, fd00::2/64"),
            ("{{if .Internal}}in{{else}}out{{end}}", "out"),
            ("{{upper .Name}}\\t{{len .addresses}}", "LAB0\t2"),
            ("{{.Name | printf \"%-6s|\"}}", "lab0  |"),
            ("{{truncate .Name 2}}{{println}}", "la\n"),
            (
                "{{with .IPAM}}{{range $i, $c := .Config}}{{$i}}={{$c.Subnet}};{{end}}{{end}}",
                "0=10.7.0.0/24;1=fd00::/64;",
            ),
        ] {
            assert_eq!(rendered(template).unwrap(), text, "{template}");
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_the_right_ones() {
        let error = rendered("{{.Nmae}}").unwrap_err();
        assert_eq!(error.to_string(), "template: there is no field `Nmae`");
        assert!(crate::error::hint(&error).unwrap().contains(".Mtu .Name"));
        assert!(rendered("{{.Name").is_err());
        assert!(rendered("{{nosuch .Name}}").is_err());
    }

    #[test]
    fn a_table_has_the_fields_as_its_header() {
        let template = Template::new("table {{.Name}}\\t{{json .IPAM}}\\t{{upper .host_ifname}}");
        assert!(template.is_table);
        assert_eq!(template.header(), ["NAME", "IPAM", "HOST_IFNAME"]);
    }
}
