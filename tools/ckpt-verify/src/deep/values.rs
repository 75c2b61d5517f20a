//! nan, inf, all-zero, constant, zero-range, denormal-flood: what one tensor's numbers say.

use ckpt::facts::dtype::Kind;
use ckpt::facts::{Dtype, Finding, Id, Recipe, Severity, Tensor};
use ckpt::plan::scan::{Odd, Values};

use super::roles::{Role, has_spare_rows};
use crate::case::Case;

/// Judges a part of a tensor that stands in one file, or the whole of it, by what was seen of it.
pub(super) fn judge(case: &Case<'_>, tensor: &Tensor, part: &Recipe, seen: &Values) -> Vec<Finding> {
    let judge = Judge { case, tensor, part, role: Role::of(case, tensor) };
    let mut findings: Vec<Finding> = [judge.nan(seen), judge.infinite(seen)].into_iter().flatten().collect();
    if seen.zero {
        findings.extend(judge.zero());
    } else if seen.constant {
        findings.extend(judge.constant());
    } else {
        findings.extend(judge.zero_range(seen));
        findings.extend(judge.subnormal(seen));
    }
    findings
}

struct Judge<'a> {
    case: &'a Case<'a>,
    tensor: &'a Tensor,
    part: &'a Recipe,
    role: Role,
}

impl Judge<'_> {
    /// A finding about the tensor, at an element of the part if it stands in a file.
    fn finding(&self, id: Id, message: String, element: u64) -> Finding {
        let finding = Finding::new(id, message).tensor(self.tensor.name.clone());
        let Some((file, offset)) = self.part.contiguous() else {
            return match self.part.file() {
                Some(file) => finding.in_file(self.case.checkpoint.pool.name(file)),
                None => finding,
            };
        };
        let (elements, bytes) = self.part.dtype.block();
        let at = offset.saturating_add(element.checked_div(elements).unwrap_or(0).saturating_mul(bytes));
        finding.in_file(self.case.checkpoint.pool.name(file)).at(at)
    }

    fn odd(&self, id: Id, what: &str, odd: Odd, seen: &Values) -> Option<Finding> {
        let first = odd.first?;
        let all = seen.numbers;
        let parts = if self.part.dtype.kind() == Kind::Complex { "real and imaginary parts" } else { "values" };
        let message = format!("{} of {all} {parts} are {what}, the first at element {first}", odd.count);
        Some(self.finding(id, message, first).needed("finite values", format!("{} {what}", odd.count)))
    }

    fn nan(&self, seen: &Values) -> Option<Finding> {
        self.odd(Id::Nan, "NaN", seen.nan, seen)
    }

    /// Masks are minus infinity where nothing shall be seen, and the least loss so far begins at infinity.
    fn infinite(&self, seen: &Values) -> Option<Finding> {
        let finding = self.odd(Id::Inf, "infinite", seen.infinite, seen)?;
        let ordinary = self.role == Role::Buffer || self.tensor.recipe.elements() == 1;
        Some(if ordinary { finding.severity(Severity::Note) } else { finding })
    }

    fn zero(&self) -> Option<Finding> {
        let message = format!("all {} values are zero", self.part.elements());
        let finding = self.finding(Id::AllZero, message, 0);
        match self.role {
            Role::Weight => Some(finding),
            Role::ZeroAtFirst => Some(finding.severity(Severity::Note)),
            Role::Norm if self.is_centred() => None,
            Role::Norm => Some(finding.severity(Severity::Warning)),
            Role::Vector | Role::Buffer | Role::State => None,
        }
    }

    /// Normalisations that add one to their weight, and so start from zero.
    fn is_centred(&self) -> bool {
        let centred = ["gemma", "nemotron", "qwen3_next", "qwen3_5", "recurrent_gemma"];
        crate::case::model_type(self.case.checkpoint)
            .is_none_or(|model| centred.iter().any(|name| model.starts_with(name)))
    }

    fn constant(&self) -> Option<Finding> {
        let message = format!("all {} values are the same", self.part.elements());
        (self.role == Role::Weight).then(|| self.finding(Id::Constant, message, 0))
    }

    /// Whole rows may be pruned, or stand for tokens that do not exist; what a lost write leaves begins and ends
    /// anywhere.
    fn zero_range(&self, seen: &Values) -> Option<Finding> {
        if seen.runs.count == 0 || self.role != Role::Weight {
            return None;
        }
        let (start, bytes) = seen.runs.longest;
        let (elements, unit) = self.part.dtype.block();
        let end = start.saturating_add(bytes);
        let first = start.div_ceil(unit).saturating_mul(elements);
        let last = end.checked_div(unit).unwrap_or(0).saturating_mul(elements);
        let row = self.part.shape.last().copied().unwrap_or(1);
        let whole = first.checked_rem(row) == Some(0) && last.checked_rem(row) == Some(0);
        let is_tail = last == self.part.elements();
        let more = match seen.runs.count {
            1 => String::new(),
            count => format!("; {count} such ranges have {} bytes together", seen.runs.bytes),
        };
        let place = if is_tail { "to the end" } else { "in its midst" };
        let message = format!("{bytes} bytes from element {first} on are zeros, {place}{more}");
        let finding = self.finding(Id::ZeroRange, message, first);
        Some(match (whole, has_spare_rows(self.case, self.tensor)) {
            (true, true) => finding.severity(Severity::Note),
            (true, false) => finding.severity(Severity::Warning),
            (false, _) => finding,
        })
    }

    /// Half precision has so few exponents that small weights are subnormal; in wider formats it takes numbers below
    /// 1e-38, of which no training is made.
    fn subnormal(&self, seen: &Values) -> Option<Finding> {
        let per_cent = if self.part.dtype == Dtype::F16 { 50 } else { 10 };
        let many = seen.subnormal.saturating_mul(100) > seen.numbers.saturating_mul(per_cent);
        if !many || seen.numbers < 1024 || !matches!(self.role, Role::Weight | Role::ZeroAtFirst) {
            return None;
        }
        let message = format!("{} of {} values are subnormal", seen.subnormal, seen.numbers);
        let needed = format!("at most {per_cent} in a hundred");
        Some(self.finding(Id::DenormalFlood, message, 0).needed(needed, seen.subnormal))
    }
}
