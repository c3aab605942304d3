//! The path of a packet as lines for a terminal of 80 columns: the place, the stage, what happens,
//! and below it the rules that match there.

use unicode_width::UnicodeWidthStr;

use super::{Ink, Line};
use crate::model::{
    ruleset::Met,
    trace_path::{Hop, Outcome, Stage, Way},
    visible,
};

/// The width of a terminal.
const WIDTH: usize = 80;
const GAP: usize = 2;

/// Returns the lines, with the verdict last.
pub fn draw(way: &Way) -> Vec<Line> {
    let hops = || way.hops.iter().chain(&way.answer);
    let of_places = hops().map(|hop| visible(&hop.place).width()).max().unwrap_or_default() + GAP;
    let mut lines = Vec::new();
    let dies = |hop: &Hop| {
        way.verdict.outcome == Outcome::Dies
            && (&hop.place, hop.stage) == (&way.verdict.place, way.verdict.stage)
    };
    let is_of_answer = !way.verdict.outcome.is_good() && !way.answer.is_empty();
    part(&mut lines, &way.hops, of_places, |hop| !is_of_answer && dies(hop));
    // The path of the reply is shown only if something is wrong with it.
    if is_of_answer {
        append(&mut lines, Vec::new(), GAP, Ink::Faint, "the answer:");
        part(&mut lines, &way.answer, of_places, dies);
    }
    for (hop, met) in way.doubts() {
        let text = format!(
            "not known: whether this is for it, at {} of {}: {}",
            hop.stage,
            hop.place,
            rule(met)
        );
        append(&mut lines, Vec::new(), GAP, Ink::Plain, &text);
    }
    let ink = if way.verdict.outcome.is_good() { Ink::Open } else { Ink::Bad };
    append(&mut lines, Vec::new(), GAP, ink, &way.verdict.text);
    lines
}

fn part(lines: &mut Vec<Line>, hops: &[Hop], of_places: usize, is_end: impl Fn(&Hop) -> bool) {
    let of_stages = Stage::Postrouting.name().width() + GAP;
    let mut before = "";
    for hop in hops {
        let place = if hop.place == before { "" } else { &hop.place };
        before = &hop.place;
        let start = [
            (Ink::Name, padded(&visible(place), of_places)),
            (Ink::Faint, padded(hop.stage.name(), of_stages)),
        ];
        let ink = if is_end(hop) { Ink::Bad } else { Ink::Plain };
        append(lines, start.to_vec(), of_places + of_stages, ink, &hop.what);
        for met in &hop.rules {
            let indent = of_places + GAP;
            let start = vec![(Ink::Plain, " ".repeat(indent))];
            append(lines, start, indent + GAP, Ink::Faint, &rule(met));
        }
    }
}

/// Returns a rule with its table, chain and comment.
pub fn rule(met: &Met) -> String {
    let comment = met.comment.as_ref().map(|text| format!(" # {text}")).unwrap_or_default();
    let is_said = met.rule.ends_with(&met.effect);
    let effect = if is_said { String::new() } else { format!(" => {}", met.effect) };
    format!("{} {}: {}{effect}{comment}", met.table, met.chain, met.rule)
}

/// Appends text to a line; what does not fit continues on the next line, indented.
fn append(lines: &mut Vec<Line>, start: Vec<(Ink, String)>, indent: usize, ink: Ink, text: &str) {
    let mut used: usize = start.iter().map(|(_, piece)| piece.width()).sum();
    let (mut line, mut rest) = (Line(start), String::new());
    for word in visible(text).split(' ') {
        let gap = usize::from(!rest.is_empty());
        if !rest.is_empty() && used + rest.width() + gap + word.width() > WIDTH {
            line.0.push((ink, std::mem::take(&mut rest)));
            lines.push(std::mem::take(&mut line));
            line.0.push((Ink::Plain, " ".repeat(indent)));
            used = indent;
        } else if gap > 0 {
            rest.push(' ');
        }
        rest.push_str(word);
    }
    line.0.push((ink, rest));
    lines.push(line);
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
