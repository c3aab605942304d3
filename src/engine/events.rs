//! Follows the events of an engine's containers over one connection.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::{client, is_reference, sockets};
use crate::model::Engine;

/// `{"type":["container"]}`. Each engine has another word for a container's end, so which events of
/// containers matter is decided here.
const PATH: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";

/// The maximum length of one event. A container's labels are in it.
const MAX_EVENT: usize = 1 << 20;

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was started.
    Started,
    /// It has ended.
    Ended,
}

/// An event of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// What happened.
    pub happened: Happened,
    /// The full ID.
    pub id: String,
    /// The container's name.
    pub name: String,
}

/// The events of an engine's containers, from now on.
#[derive(Debug)]
pub struct ContainerEvents {
    engine: Engine,
    body: Incoming,
    /// What was received and not read yet.
    rest: Vec<u8>,
    connection: JoinHandle<()>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(default)]
    name: String,
}

impl ContainerEvents {
    /// Begins to follow an engine.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn of(engine: Engine, patience: Duration) -> anyhow::Result<Self> {
        let (body, connection) = client::follow(engine, &sockets(engine)?, PATH, patience).await?;
        Ok(Self { engine, body, rest: Vec::new(), connection })
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// If the engine has ended the connection, or sends invalid data.
    pub async fn next(&mut self) -> anyhow::Result<ContainerEvent> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if let Some(event) = parsed(self.engine, &line)? {
                    return Ok(event);
                }
            }
            if self.rest.len() > MAX_EVENT {
                bail!("{} makes no sense: an event without end", self.engine);
            }
            let more = self.more().await?;
            self.rest.extend_from_slice(&more);
        }
    }

    async fn more(&mut self) -> anyhow::Result<Bytes> {
        loop {
            let frame = self.body.frame().await;
            let frame = frame.with_context(|| format!("{} has ended", self.engine))?;
            let frame = frame.with_context(|| format!("{} was lost", self.engine))?;
            if let Ok(data) = frame.into_data() {
                return Ok(data);
            }
        }
    }
}

impl Drop for ContainerEvents {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Returns the event in a line, if it matters.
fn parsed(engine: Engine, line: &[u8]) -> anyhow::Result<Option<ContainerEvent>> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let Event { action, actor: Actor { id, attributes: Attributes { name } } } =
        serde_json::from_slice(line).with_context(|| format!("{engine} makes no sense"))?;
    let happened = match action.as_str() {
        "start" => Happened::Started,
        // Docker's word, and podman's.
        "die" | "died" => Happened::Ended,
        _ => return Ok(None),
    };
    if !is_reference(&id) || !is_reference(&name) {
        bail!("{engine} makes no sense: an event of no container");
    }
    Ok(Some(ContainerEvent { happened, id, name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of docker 20.10 and podman 4.3.
    #[test]
    fn only_starts_and_ends_matter() {
        let event = |line: &str| parsed(Engine::Docker, line.as_bytes()).unwrap();
        let started = event(
            r#"{"status":"start","id":"4423","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"4423","Attributes":{"image":"busybox","name":"web"}},"scope":"local","time":1,"timeNano":1}"#,
        );
        let (id, name) = ("4423".to_owned(), "web".to_owned());
        let expected =
            |happened| Some(ContainerEvent { happened, id: id.clone(), name: name.clone() });
        assert_eq!(started, expected(Happened::Started));
        for word in ["die", "died"] {
            let line = format!(
                r#"{{"Type":"container","Action":"{word}","Actor":{{"ID":"4423","Attributes":{{"exitCode":"0","name":"web"}}}}}}"#
            );
            assert_eq!(event(&line), expected(Happened::Ended));
        }
        let other = r#"{"Action":"exec_create: sh","Actor":{"ID":"4423","Attributes":{}}}"#;
        assert_eq!(event(other), None);
        assert_eq!(event("\n"), None);
    }

    #[test]
    fn nonsense_is_an_error() {
        for line in [
            "<html>",
            r#"{"Action":"start"}"#,
            r#"{"Action":"start","Actor":{"ID":"../x","Attributes":{"name":"web"}}}"#,
            r#"{"Action":"start","Actor":{"ID":"4423","Attributes":{"name":""}}}"#,
        ] {
            assert!(parsed(Engine::Docker, line.as_bytes()).is_err(), "{line}");
        }
    }
}
