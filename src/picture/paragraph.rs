//! Text that is broken between words to fit a width.

use unicode_width::UnicodeWidthStr;

use super::{Ink, Line};
use crate::model::visible;

/// The place of a text: what stands before it, and where it goes on.
#[derive(Debug)]
pub struct Paragraph {
    /// The beginning of the first line.
    pub start: Vec<(Ink, String)>,
    /// The indent of the other lines.
    pub indent: usize,
    /// The width of a line. A word that is longer stays whole.
    pub width: usize,
}

impl Paragraph {
    /// Adds a text's lines, and a last word of another meaning, two spaces after the text.
    pub fn write(self, lines: &mut Vec<Line>, ink: Ink, text: &str, last: Option<(Ink, String)>) {
        let mut used: usize = self.start.iter().map(|(_, piece)| piece.width()).sum();
        let (mut line, mut rest) = (Line(self.start), String::new());
        let indent = (Ink::Plain, " ".repeat(self.indent));
        for word in visible(text).split(' ') {
            let gap = usize::from(!rest.is_empty());
            if !rest.is_empty() && used + rest.width() + gap + word.width() > self.width {
                line.0.push((ink, std::mem::take(&mut rest)));
                lines.push(std::mem::take(&mut line));
                line.0.push(indent.clone());
                used = self.indent;
            } else if gap > 0 {
                rest.push(' ');
            }
            rest.push_str(word);
        }
        used += rest.width();
        line.0.push((ink, rest));
        if let Some((ink, word)) = last {
            if used + 2 + word.width() > self.width {
                lines.push(std::mem::take(&mut line));
                line.0.push(indent);
            } else {
                line.0.push((Ink::Plain, "  ".to_owned()));
            }
            line.0.push((ink, word));
        }
        lines.push(line);
    }
}
