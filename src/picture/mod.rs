//! Pictures of a host's network: pure functions of a [`crate::model::graph::Graph`], a file each.
//!
//! - `text`: a tree for a terminal
//! - `dot`, `mermaid`: for those who draw them, of the nodes and edges of `diagram`
//! - `svg`: drawn here; `layout` says what is where
//! - `trace_path`: the path of a packet, as lines
//! - `words`: the descriptions that all formats use

mod diagram;
pub mod dot;
mod layout;
pub mod mermaid;
#[cfg(test)]
pub(crate) mod sample;
pub mod svg;
pub mod text;
pub mod trace_path;
mod words;

/// A line of text, in pieces of one ink each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub Vec<(Ink, String)>);

/// What a piece of text is, for those who have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Nothing special.
    Plain,
    /// Less important.
    Faint,
    /// Who it is.
    Name,
    /// Where it is.
    Address,
    /// What can be reached from outside.
    Open,
    /// What does not work.
    Bad,
}
