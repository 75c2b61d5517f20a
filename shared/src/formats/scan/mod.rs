//! Every pickle in a file, found by content whatever the file is called, and what each would do when it is loaded.
//!
//! Nothing runs: [`pickle::Machine`](super::pickle::Machine) builds plain data. What a name may do is decided by a table
//! that denies by default.

mod archive;
mod policy;
mod standard;
mod stream;
mod text;
mod unfold;

use crate::bytes::ReadAt;
use crate::facts::{Finding, Id, Severity, limits};

use super::{Findings, detect, tar, torch, unreadable};
use archive::Window;
use detect::Format;
use stream::{Seen, Stop};

/// Bytes from which the kind of a file is seen.
const HEAD: u64 = 512;
/// Bytes of a pickle that are read first; more if it goes on.
const FIRST: u64 = 1 << 16;
/// Bytes that are read of what may be a pickle and does nothing so far. Protocol 0 has no magic, and a line of text may
/// have no end.
const TEXT: u64 = 1 << 24;
/// Pickles that torch's old format has before its storages.
const LEGACY: u64 = 5;
/// Pickles that may follow each other in one file.
const PICKLES: u64 = 100_000;
/// Bytes behind a pickle that are searched for hidden ones, how far one is followed, and how far all together.
const BEHIND: u64 = 1 << 26;
/// See [`BEHIND`].
const TRY_BYTES: usize = 1 << 16;
/// See [`BEHIND`].
const TRIED: u64 = 1 << 22;

/// Archives that are recognised and not looked into: name, first bytes, how much that matters.
const CLOSED: &[(&str, &[u8], Severity)] = &[
    ("7z", b"7z\xbc\xaf\x27\x1c", Severity::Warning),
    ("rar", b"Rar!\x1a\x07", Severity::Warning),
    ("xz", b"\xfd7zXZ\0", Severity::Note),
    ("bzip2", b"BZh", Severity::Note),
    ("zstd", b"\x28\xb5\x2f\xfd", Severity::Note),
];

/// First bytes that send a file another way than its being a tar.
const MAGICS: [&[u8]; 4] = [b"PK", b"\x93NUMPY", b"\x1f\x8b", b"\x80"];

/// Looks at every pickle in a file. The findings name no file; places within packed members count from the member's own
/// first byte, and the message says which member.
pub fn scan(source: &dyn ReadAt) -> Vec<Finding> {
    let mut scan = Scan { findings: Findings::default(), unpacked: 0 };
    scan.any(source, &Place::default());
    scan.findings.list()
}

/// Where something stands.
#[derive(Debug, Default, Clone)]
struct Place {
    /// Members that lead to it, each in the one before.
    within: String,
    /// Byte of the file at which it begins; of itself, if it was packed.
    base: u64,
    /// Archives around it.
    depth: usize,
    /// It is raw bytes of a pickle and not a file.
    inner: bool,
    /// Several pickles, one after another or with bytes between, are what its format has here.
    series: bool,
}

impl Place {
    /// A member of the archive that stands here.
    fn member(&self, name: &str, base: u64) -> Place {
        let within = if self.within.is_empty() { name.to_owned() } else { format!("{}/{name}", self.within) };
        Place { within, base, depth: self.depth.saturating_add(1), inner: self.inner, series: self.series }
    }

    /// Words to put behind what is said.
    fn words(&self) -> String {
        if self.within.is_empty() { String::new() } else { format!(" (in {})", self.within) }
    }
}

struct Scan {
    findings: Findings,
    /// Bytes unpacked so far.
    unpacked: u64,
}

impl Scan {
    fn say(&mut self, place: &Place, mut finding: Finding) {
        finding.message.push_str(&place.words());
        self.findings.push(finding);
    }

    /// A file or a member, by its first bytes.
    fn any(&mut self, source: &dyn ReadAt, place: &Place) {
        let head = match source.read_vec_at(HEAD.min(source.size()), 0) {
            Ok(head) => head,
            Err(error) => return self.say(place, unreadable(&error, place.base)),
        };
        if place.depth > limits::PICKLES_DEEP {
            let message = "archives nest too deeply to be looked into";
            return self.say(place, Finding::new(Id::PickleBomb, message).at(place.base));
        }
        if tar::is_tar(&head) {
            self.tar(source, place);
            // The name of the first member may be made to look like something else, which is looked at as well.
            if !MAGICS.iter().any(|magic| head.starts_with(magic)) {
                return;
            }
        }
        if let Some((kind, _, severity)) = CLOSED.iter().find(|row| head.starts_with(row.1)) {
            let message = format!("this is packed with {kind}, which is not looked into; what is in it was not judged");
            return self.say(place, Finding::new(Id::PickleUnscanned, message).at(place.base).severity(*severity));
        }
        if head.starts_with(b"PK") {
            return self.zip(source, place);
        }
        if head.starts_with(b"\x93NUMPY") {
            return self.npy(source, place);
        }
        if head.starts_with(b"\x1f\x8b") {
            return self.gzip(source, place);
        }
        let format = detect::detect(source);
        if torch::is_legacy(&head) {
            // The storages behind are numbers.
            return self.pickles(source, place, LEGACY, true);
        }
        if !matches!(format, Ok(Format::Safetensors | Format::Gguf | Format::Hdf5)) {
            self.pickles(source, place, PICKLES, starts_as_pickle(&head));
        } else if starts_as_pickle(&head) {
            // A pickle that is made to look like a header is short, for the rest of the file has to be that format's.
            self.pickles(&Window::new(source, 0, FIRST), place, PICKLES, false);
        }
        // A zip is found from its end, whatever stands before it.
        if format == Ok(Format::Torch) {
            self.zip(source, place);
        }
    }

    /// Pickles one after another, from the first byte on. What does not begin with a pickle's magic is one only if it
    /// turns out to be: text may begin with any opcode.
    fn pickles(&mut self, source: &dyn ReadAt, place: &Place, most: u64, firm: bool) {
        let most_bytes = if firm { limits::PICKLE } else { TEXT };
        let mut window = Reader { source, bytes: Vec::new(), start: 0, most: most_bytes };
        let (mut at, mut count) = (0u64, 0u64);
        while at < source.size() && count < most {
            let seen = match window.look(at, place.base) {
                Ok(seen) => seen,
                Err(error) => return self.say(place, unreadable(&error, place.base.saturating_add(at))),
            };
            let is_first = count == 0;
            let listed = seen.dangers.values().any(|(_, why)| policy::is_listed(why));
            let is_pickle = seen.acts || listed || (seen.stop.is_none() && (seen.names || !seen.inner.is_empty()));
            if is_first && !firm && !is_pickle {
                return;
            }
            if !is_first && !is_pickle && seen.stop.is_some() && most != LEGACY {
                return self.behind(source, at, place);
            }
            self.judge(&seen, place);
            if !is_first && most != LEGACY {
                let message = "another pickle follows the first one; what loads one at a time never sees it";
                self.trailing(place, place.base.saturating_add(at), message);
            }
            if let Some(stop) = &seen.stop {
                self.unfinished(&seen, stop, place);
                return self.hidden(source, at.saturating_add(1), place);
            }
            count = count.saturating_add(1);
            at = seen.end.saturating_sub(place.base);
        }
        if count == PICKLES && at < source.size() {
            let message = format!("more than {PICKLES} pickles follow each other; the rest was not judged");
            self.say(place, Finding::new(Id::PickleIncomplete, message).at(place.base.saturating_add(at)));
        }
    }

    /// Says what is wrong with a pickle.
    fn judge(&mut self, seen: &Seen, place: &Place) {
        let inner = if place.inner {
            ", which stands in the bytes of another pickle and runs when that is loaded in turn"
        } else {
            ""
        };
        for (name, (offset, why)) in &seen.dangers {
            let message = format!("the pickle{inner} names {name}: {why}");
            self.say(place, Finding::new(Id::PickleDangerous, message).at(*offset));
        }
        if let Some(at) = seen.breaks.first() {
            let message =
                "a frame of the pickle does not end where its opcodes do: one unpickler takes other bytes than another";
            self.say(place, Finding::new(Id::PickleSmuggled, message).at(*at));
        }
        if let Some(bomb) = &seen.bomb {
            let finding = Finding { id: Id::PickleBomb, severity: Id::PickleBomb.severity(), ..bomb.clone() };
            self.say(place, finding);
        }
        if let Some(first) = seen.unknown.values().min().filter(|_| !place.inner) {
            let names: Vec<&str> = seen.unknown.keys().take(20).map(String::as_str).collect();
            let more = seen.unknown.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("the pickle names classes that are not known: {}{more}", names.join(", "));
            self.say(place, Finding::new(Id::PickleUnknownClass, message).at(*first));
        }
        if place.depth < limits::PICKLES_DEEP {
            for bytes in &seen.inner {
                let inside = Place { inner: true, base: 0, depth: place.depth.saturating_add(1), ..place.clone() };
                for bytes in text::spelt(bytes) {
                    self.pickles(&bytes, &inside, 1, false);
                }
            }
        }
    }

    fn trailing(&mut self, place: &Place, at: u64, message: &str) {
        let said = self.findings.list.iter().any(|finding| finding.id == Id::PickleTrailing);
        if !said && !place.inner && !place.series {
            self.say(place, Finding::new(Id::PickleTrailing, message).at(at));
        }
    }

    /// A pickle that was not read to its end.
    fn unfinished(&mut self, seen: &Seen, stop: &Stop, place: &Place) {
        if seen.bomb.is_some() || place.inner {
            return;
        }
        // joblib puts the raw bytes of arrays between opcodes.
        let joblib = seen.unknown.keys().any(|name| name.starts_with("joblib.numpy_pickle."));
        let finding = stop.finding();
        let message = format!("{}; what it would do beyond is not known", finding.message);
        let severity = if joblib { Severity::Warning } else { Severity::Error };
        let told = Finding { id: Id::PickleIncomplete, severity, message, ..finding.clone() };
        self.say(place, told);
    }

    /// What follows the last pickle and is none.
    fn behind(&mut self, source: &dyn ReadAt, at: u64, place: &Place) {
        let offset = place.base.saturating_add(at);
        let left = source.size().saturating_sub(at);
        self.trailing(place, offset, &format!("{left} bytes that are no pickle follow the pickle"));
        self.hidden(source, at, place);
    }

    /// Looks for pickles in bytes that no unpickler reaches by itself; only those that mean harm are told.
    fn hidden(&mut self, source: &dyn ReadAt, at: u64, place: &Place) {
        if place.inner {
            return;
        }
        let count = BEHIND.min(source.size().saturating_sub(at));
        let Ok(bytes) = source.read_vec_at(count, at) else { return };
        let starts = bytes.windows(2).enumerate().filter(|(_, pair)| matches!(pair, [0x80, 0..=5]));
        let mut tried = 0u64;
        for (start, _) in starts {
            if tried > TRIED {
                return;
            }
            let end = start.saturating_add(TRY_BYTES).min(bytes.len());
            let offset = place.base.saturating_add(at).saturating_add(u64::try_from(start).unwrap_or(0));
            let seen = stream::look(bytes.get(start..end).unwrap_or_default(), offset);
            tried = tried.saturating_add(seen.end.saturating_sub(offset)).saturating_add(1);
            for (name, (offset, why)) in seen.dangers.into_iter().filter(|_| seen.acts) {
                let message = format!("a pickle behind the pickle names {name}: {why}");
                self.say(place, Finding::new(Id::PickleDangerous, message).at(offset));
            }
        }
    }
}

/// A pickle of protocol 2 or later begins with the protocol and an opcode.
fn starts_as_pickle(head: &[u8]) -> bool {
    const OPCODES: &[u8] = b"(.0012FIJKLMNPQRSTUVX]abcdeghijlopqrstu})BC\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98G";
    match head {
        [0x80, 0..=15, opcode, ..] => OPCODES.contains(opcode),
        [0x80, 2..=5] => true,
        _ => false,
    }
}

/// A part of a file, grown while a pickle needs more of it.
struct Reader<'s> {
    source: &'s dyn ReadAt,
    bytes: Vec<u8>,
    start: u64,
    /// Bytes that are read of a pickle that does nothing so far.
    most: u64,
}

impl Reader<'_> {
    /// Looks at the pickle that begins at byte `at` of the source.
    fn look(&mut self, at: u64, base: u64) -> std::io::Result<Seen> {
        loop {
            let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
            let bytes = skip.and_then(|skip| self.bytes.get(skip..)).unwrap_or_default();
            let left = self.source.size().saturating_sub(at).min(limits::PICKLE);
            let have = bytes.size();
            if have > 0 {
                let seen = stream::look(bytes, base.saturating_add(at));
                let most = if seen.acts { left } else { left.min(self.most) };
                if !matches!(seen.stop, Some(Stop::Short(_))) || have >= most {
                    return Ok(seen);
                }
            } else if left == 0 {
                return Ok(Seen::default());
            }
            let wanted = have.saturating_mul(8).clamp(FIRST, left.max(FIRST)).min(left);
            self.bytes = self.source.read_vec_at(wanted, at)?;
            self.start = at;
        }
    }
}

#[cfg(test)]
mod tests;
