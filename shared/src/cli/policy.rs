//! What findings count for: `--severity` and `--fail-on` applied to them.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::document::{FindingRecord, Grade, Status};
use crate::facts::{Finding, Id, Severity};

/// One `--severity ID=LEVEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regrade {
    id: Id,
    severity: Severity,
}

impl FromStr for Regrade {
    type Err = String;

    fn from_str(text: &str) -> Result<Regrade, String> {
        let (name, level) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form ID=LEVEL"))?;
        let id = Id::from_name(name)
            .ok_or_else(|| format!("there is no rule {name:?}; `ckpt-verify --rules` lists them"))?;
        let severity = Severity::from_name(level)
            .ok_or_else(|| format!("{level:?} is not a level: write ignore, note, warning or error"))?;
        Ok(Regrade { id, severity })
    }
}

/// How findings are graded in this run, and from which grade on they are a "no".
#[derive(Debug, Clone)]
pub struct Policy {
    grades: BTreeMap<Id, Severity>,
    fail_on: Grade,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { grades: BTreeMap::new(), fail_on: Grade::Error }
    }
}

impl Policy {
    /// The policy of a command line; of two levels for one rule the later counts.
    pub fn new(regrades: &[Regrade], fail_on: Grade) -> Policy {
        Policy { grades: regrades.iter().map(|regrade| (regrade.id, regrade.severity)).collect(), fail_on }
    }

    /// The finding's severity in this run.
    pub fn severity(&self, finding: &Finding) -> Severity {
        self.grades.get(&finding.id).copied().unwrap_or(finding.severity)
    }

    /// Whether a rule is ignored, so that costly ones need not be asked.
    pub fn ignores(&self, id: Id) -> bool {
        self.grades.get(&id) == Some(&Severity::Ignore)
    }

    /// The record of a finding as graded here; `None` if it is ignored.
    pub fn record(&self, finding: &Finding) -> Option<FindingRecord> {
        FindingRecord::of(&finding.clone().severity(self.severity(finding)))
    }

    /// The records of findings, ignored ones left out, the order kept.
    pub fn records<'a>(&self, findings: impl IntoIterator<Item = &'a Finding>) -> Vec<FindingRecord> {
        findings.into_iter().filter_map(|finding| self.record(finding)).collect()
    }

    /// Whether a finding of that grade is a "no".
    pub fn fails(&self, grade: Grade) -> bool {
        grade >= self.fail_on
    }

    /// The answer that these findings give.
    pub fn status(&self, findings: &[FindingRecord]) -> Status {
        if findings.iter().any(|finding| self.fails(finding.severity)) { Status::Findings } else { Status::Ok }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_regraded_and_counted() {
        let finding = |id| Finding::new(id, "x");
        let findings = [finding(Id::ConfigMissing), finding(Id::ShardMissing), finding(Id::LinkOutside)];
        let policy = |words: &[&str], fail_on| {
            Policy::new(&words.iter().map(|word| word.parse().unwrap()).collect::<Vec<_>>(), fail_on)
        };
        let grades =
            |policy: &Policy| policy.records(&findings).iter().map(|record| record.severity).collect::<Vec<_>>();

        let plain = Policy::default();
        assert_eq!(grades(&plain), [Grade::Warning, Grade::Error, Grade::Note]);
        assert_eq!(plain.status(&plain.records(&findings)), Status::Findings);

        let mild = policy(&["shard-missing=error", "shard-missing=note", "link-outside=ignore"], Grade::Error);
        assert_eq!(grades(&mild), [Grade::Warning, Grade::Note]);
        assert_eq!(mild.status(&mild.records(&findings)), Status::Ok);
        assert!(mild.ignores(Id::LinkOutside));

        let strict = policy(&["shard-missing=ignore", "config-missing=ignore"], Grade::Note);
        assert_eq!(strict.status(&strict.records(&findings)), Status::Findings);
        for wrong in ["shard-missing", "no-such-rule=note", "shard-missing=bad"] {
            assert!(wrong.parse::<Regrade>().is_err());
        }
    }
}
