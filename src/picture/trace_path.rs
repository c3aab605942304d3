//! The path of a packet as lines for a terminal: the place, the stage, what happens,
//! and below it the rules that match there.

use unicode_width::UnicodeWidthStr;

use super::{Ink, Line, Paragraph};
use crate::model::{
    ruleset::Met,
    trace_path::{Hop, Outcome, Stage, Way},
    visible,
};

const GAP: usize = 2;

/// Returns the lines, with the verdict last.
pub fn draw(way: &Way, width: usize) -> Vec<Line> {
    let hops = || way.hops.iter().chain(&way.answer);
    let of_places = hops().map(|hop| visible(&hop.place).width()).max().unwrap_or_default() + GAP;
    let mut lines = Vec::new();
    let dies = |hop: &Hop| {
        way.verdict.outcome == Outcome::Dies
            && (&hop.place, hop.stage) == (&way.verdict.place, way.verdict.stage)
    };
    let is_of_answer = !way.verdict.outcome.is_good() && !way.answer.is_empty();
    part(&mut lines, &way.hops, (of_places, width), |hop| !is_of_answer && dies(hop));
    // The path of the reply is shown only if something is wrong with it.
    if is_of_answer {
        Paragraph { start: Vec::new(), indent: GAP, width }.write(
            &mut lines,
            Ink::Faint,
            "the answer:",
            None,
        );
        part(&mut lines, &way.answer, (of_places, width), dies);
    }
    for (hop, met) in way.doubts() {
        let text = format!(
            "not known: whether this is for it, at {} of {}: {}",
            hop.stage,
            hop.place,
            rule(met)
        );
        Paragraph { start: Vec::new(), indent: GAP, width }.write(
            &mut lines,
            Ink::Plain,
            &text,
            None,
        );
    }
    let ink = if way.verdict.outcome.is_good() { Ink::Open } else { Ink::Bad };
    Paragraph { start: Vec::new(), indent: GAP, width }.write(
        &mut lines,
        ink,
        &way.verdict.text,
        None,
    );
    lines
}

fn part(
    lines: &mut Vec<Line>,
    hops: &[Hop],
    (of_places, width): (usize, usize),
    is_end: impl Fn(&Hop) -> bool,
) {
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
        Paragraph { start: start.to_vec(), indent: of_places + of_stages, width }
            .write(lines, ink, &hop.what, None);
        for met in &hop.rules {
            let indent = of_places + GAP;
            let start = vec![(Ink::Plain, " ".repeat(indent))];
            Paragraph { start, indent: indent + GAP, width }.write(
                lines,
                Ink::Faint,
                &rule(met),
                None,
            );
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

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
