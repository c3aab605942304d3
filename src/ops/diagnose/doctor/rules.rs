//! netcord's own rules: what of them is gone.

use super::snapshot::{Lost, LostKind, Segment, Snapshot};
use crate::{model::Finding, ops::driver};

/// Whether what translates source addresses is there.
pub(super) fn masquerade(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let gone = |lost: &&Lost| lost.kind == LostKind::Masquerade;
    let found = snapshot.segments.iter().filter(|s| !has_no_table(s)).filter_map(|segment| {
        let what = "the masquerade rules are gone: no reply from outside \
                    comes back";
        of(segment, what, segment.lost.iter().filter(gone))
    });
    found.collect()
}

/// Whether everything else is.
pub(super) fn rules(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let found = snapshot.segments.iter().filter_map(|segment| {
        let what = "firewall rules of the network are missing, or mixed with others: forbidden \
                    traffic may pass, or allowed traffic may be dropped";
        let gone = |lost: &&Lost| lost.kind != LostKind::Masquerade;
        of(segment, what, segment.lost.iter().filter(gone))
    });
    found.collect()
}

/// Without the table there is nothing in it either.
fn has_no_table(segment: &Segment) -> bool {
    segment.lost.iter().any(|lost| lost.kind == LostKind::Table)
}

fn of<'l>(segment: &Segment, what: &str, lost: impl Iterator<Item = &'l Lost>) -> Option<Finding> {
    let network = segment.network();
    let finding = Finding::error(segment.name(), what).mended_by(driver::again(network));
    let finding = lost.fold(finding, |found, lost| found.shown_by(lost.words.clone()));
    (!finding.evidence.is_empty()).then_some(finding)
}
