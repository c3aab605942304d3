//! Pictures of a host's network: pure functions of a [`crate::model::graph::Graph`], a file a
//! format.
//!
//! - `text`: a tree for a terminal
//! - `dot`, `mermaid`: input for other renderers, made from the nodes and edges of `diagram`
//! - `svg`: a finished picture: the boxes and lines of `topology` at the positions of `layout`
//! - `html`: the same in a page, which shows what is connected with what
//! - `trace_path`: the path of a packet, as lines
//! - `paragraph`: text that fits a terminal's width
//! - `words`: the descriptions that all formats use

mod diagram;
pub mod dot;
pub mod html;
mod layout;
pub mod mermaid;
mod paragraph;
#[cfg(test)]
pub(crate) mod sample;
pub mod svg;
pub mod text;
mod topology;
pub mod trace_path;
mod words;

pub use self::paragraph::Paragraph;

/// A line of text, in pieces with one meaning each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub Vec<(Ink, String)>);

/// The meaning of a piece of text, for which the output chooses a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Nothing special.
    Plain,
    /// Less important text.
    Faint,
    /// A name.
    Name,
    /// An address.
    Address,
    /// Something that can be reached from outside.
    Open,
    /// Something that does not work.
    Bad,
}
