//! What a repair does, or would do.

use super::{Output, unused};
use rmq_store::offline::{self, Place};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Repaired {
    done: bool,
    steps: Vec<Step>,
    kept: Vec<String>,
}

#[derive(Serialize)]
struct Step {
    part: String,
    text: String,
}

pub(super) fn run(output: &Output, place: &Place, cut: bool) -> anyhow::Result<()> {
    let repair = unused(offline::repair(place, cut))?;
    let steps = repair.steps.into_iter().map(|step| Step { part: step.part.to_string(), text: step.text });
    let repaired = Repaired {
        done: cut,
        steps: steps.collect(),
        kept: repair.kept.iter().map(|path| path.display().to_string()).collect(),
    };
    if repaired.steps.is_empty() {
        return output.sentence(&repaired, "nothing is damaged, so there is nothing to repair");
    }
    let mut rows: Vec<_> = repaired.steps.iter().map(|step| (step.part.clone(), step.text.clone())).collect();
    rows.extend(repaired.kept.iter().map(|path| ("kept in".to_owned(), path.clone())));
    output.properties(&repaired, rows)?;
    output.done(if cut { "done; start the broker" } else { "nothing was done: add --cut to do it" })
}
