//! One pickle for each trick, put together from opcodes; nothing here is ever run.
#![allow(clippy::format_collect, reason = "a test may be slow")]

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::facts::Severity;

/// What is said, notes left out: `rule at place`.
fn said(bytes: &[u8]) -> Vec<String> {
    let mut all: Vec<String> = scan(&bytes.to_vec())
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .map(|finding| format!("{} at {}", finding.id.name(), finding.offset.unwrap_or_default()))
        .collect();
    all.dedup();
    all
}

/// Which rules speak, notes among them.
fn ids(bytes: &[u8]) -> Vec<&'static str> {
    let mut all: Vec<&str> = scan(&bytes.to_vec()).iter().map(|finding| finding.id.name()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A text with its length.
fn short(text: &str) -> Vec<u8> {
    [&[0x8c, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Protocol 4: a function called with one text.
fn call(module: &str, name: &str) -> Vec<u8> {
    [b"\x80\x04".to_vec(), named(module, name), short("x"), b"\x85R.".to_vec()].concat()
}

/// A name by `STACK_GLOBAL`.
fn named(module: &str, name: &str) -> Vec<u8> {
    [short(module), short(name), vec![0x93]].concat()
}

/// A zip of stored or deflated members.
fn zip(members: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let at = u32::try_from(file.len()).unwrap();
        let packed = if deflate {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            bytes.to_vec()
        };
        let mut fields = Vec::new();
        for half in [20, 0, if deflate { 8 } else { 0 }, 0, 0u16] {
            fields.extend(half.to_le_bytes());
        }
        for word in [crc32fast::hash(bytes), u32::try_from(packed.len()).unwrap(), u32::try_from(bytes.len()).unwrap()]
        {
            fields.extend(word.to_le_bytes());
        }
        fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        fields.extend([0, 0]);
        file.extend([b"PK\x03\x04", fields.as_slice(), name.as_bytes(), &packed].concat());
        directory
            .extend([b"PK\x01\x02\x14\0", fields.as_slice(), &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let start = u32::try_from(file.len()).unwrap();
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    let length = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &length, &start.to_le_bytes(), &[0, 0]].concat();
    [file, directory, end].concat()
}

/// A numpy array of objects around a pickle.
fn npy(pickle: &[u8]) -> Vec<u8> {
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\0".as_slice(), &length, header.as_bytes(), pickle].concat()
}

#[test]
fn each_way_to_call_is_seen() {
    for (what, bytes) in [
        ("GLOBAL and REDUCE", b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.".to_vec()),
        ("STACK_GLOBAL", call("os", "system")),
        ("names from text of Python 2", b"S'os'\nS'system'\n\x93S'x'\n\x85R.".to_vec()),
        ("INST", b"(S'x'\nios\nsystem\n.".to_vec()),
        ("INST without an end of line", b"(S'x'\nios\nsystem!".to_vec()),
        ("OBJ", b"(cos\nsystem\nS'x'\no.".to_vec()),
        ("NEWOBJ", b"\x80\x02csubprocess\nPopen\nS'x'\n\x85\x81.".to_vec()),
        ("NEWOBJ_EX", b"\x80\x04csubprocess\nPopen\nS'x'\n\x85}\x92.".to_vec()),
        ("named and not called", b"\x80\x02cos\nsystem\n.".to_vec()),
        ("taken away again", b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R0N.".to_vec()),
        ("protocol 0, of Python 2", b"c__builtin__\neval\n(Vx\ntR.".to_vec()),
        ("extension registry", b"\x80\x02\x82\x07X\x01\0\0\0x\x85R.".to_vec()),
        (
            "memo by number, out of order",
            b"\x80\x02X\x02\0\0\0osq\x09X\x06\0\0\0systemq\x020h\x09h\x02\x93)R.".to_vec(),
        ),
        ("dotted name", call("builtins", "eval.__call__")),
        ("dotted name below what is allowed", call("collections", "OrderedDict.fromkeys")),
        ("another module's import", call("torch.serialization", "os.system")),
        ("a name that looks like one", call("o\u{455}", "system")),
        ("a class of Python's library", call("logging", "FileHandler")),
        ("a class of Python 2's library", call("httplib", "HTTPSConnection")),
        ("a function of a library", call("numpy.f2py.crackfortran", "getlincoef")),
        ("asyncio subclass", call("asyncio.unix_events", "_UnixSubprocessTransport._start")),
        ("bdb", b"\x80\x02cbdb\nBdb\n)\x81.".to_vec()),
        ("pip", call("pip", "main")),
        ("code objects", call("types", "CodeType")),
        ("cloudpickle", call("cloudpickle.cloudpickle", "_make_function")),
        ("partial", call("functools", "partial")),
    ] {
        assert!(ids(&bytes).contains(&"pickle-dangerous"), "{what}: {:?}", ids(&bytes));
    }
    assert_eq!(said(&call("os", "system")), ["pickle-dangerous at 14"]);
}

#[test]
fn what_calls_for_others_is_seen() {
    for (what, bytes) in [
        ("the result of a call", b"\x80\x02ca\nB\n)R)R.".to_vec()),
        ("a factory", b"\x80\x02ccollections\ndefaultdict\nca\nrun\n\x85R.".to_vec()),
        ("torch's rebuilder", b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ca\nrun\nN)}tR.".to_vec()),
        ("copyreg", b"\x80\x02ccopyreg\n__newobj__\ncsubprocess\nPopen\n\x85R.".to_vec()),
        ("a state for a class", b"\x80\x02ctorch.nn\nModule\n}X\x01\0\0\0aK\x01sb.".to_vec()),
        ("items for a module's variable", b"\x80\x02ca\nb\nX\x01\0\0\0aK\x01s.".to_vec()),
        ("a method that the unpickler calls", b"\x80\x02ca\nB\n)\x81}X\x0c\0\0\0__setstate__ca\nrun\nsb.".to_vec()),
        ("the same, in the first of two states", b"\x80\x02ca\nB\n)\x81}X\x06\0\0\0appendca\nrun\nsb}b.".to_vec()),
        ("getattr", b"\x80\x02cbuiltins\ngetattr\nca\nB\nX\x08\0\0\0__init__\x86R.".to_vec()),
        ("getattr as a factory", b"\x80\x02ccollections\ndefaultdict\ncbuiltins\ngetattr\n\x85R.".to_vec()),
    ] {
        assert!(ids(&bytes).contains(&"pickle-dangerous"), "{what}: {:?}", ids(&bytes));
    }
}

#[test]
fn what_only_some_unpicklers_take_hides_nothing() {
    let system = b"cos\nsystem\nX\x01\0\0\0x\x85R.";
    for before in [b"I0x10\n0".as_slice(), b"NNb0", b"NNa0", b"FNaN!\n0", b"L1_0\n0", b"\x80\x09", b"N(e0"] {
        let bytes = [b"\x80\x02", before, system].concat();
        assert!(ids(&bytes).contains(&"pickle-dangerous"), "{}", before.escape_ascii());
    }
}

#[test]
fn the_stream_is_judged_to_its_last_byte() {
    let system = call("os", "system");
    // A second pickle, harmless and not; bytes that are none; a pickle behind those.
    assert_eq!(said(b"\x80\x02N.\x80\x02N."), ["pickle-trailing at 4"]);
    assert_eq!(said(&[b"\x80\x02N.", system.as_slice()].concat()), ["pickle-dangerous at 18", "pickle-trailing at 4"]);
    assert_eq!(said(b"\x80\x02N.\xff\xff"), ["pickle-trailing at 4"]);
    let hidden = [b"\x80\x02N.\xff\xff", system.as_slice()].concat();
    assert_eq!(said(&hidden), ["pickle-trailing at 4", "pickle-dangerous at 20"]);
    // Broken after the call, cut off after the call, cut off before anything.
    let broken = [&system[..system.len() - 1], b"\xff"].concat();
    assert_eq!(said(&broken), ["pickle-dangerous at 14", "pickle-incomplete at 20"]);
    assert_eq!(said(&system[..system.len() - 1]), ["pickle-dangerous at 14", "pickle-incomplete at 20"]);
    assert_eq!(said(b"\x80\x02X\xff\0\0\0ab"), ["pickle-incomplete at 2"]);
    // More than anyone writes.
    let many = [b"N.".repeat(100_000), system.clone()].concat();
    assert_eq!(
        said(&[b"\x80\x02".as_slice(), &many].concat()),
        ["pickle-trailing at 4", "pickle-incomplete at 200002"]
    );
    // Longer than what is read at first.
    let long = [b"\x80\x02X\0\0\x10\0".as_slice(), &vec![b'a'; 1 << 20], b"0cos\nsystem\n)R."].concat();
    assert_eq!(said(&long), ["pickle-dangerous at 1048584"]);
}

#[test]
fn frames_that_hide_bytes_are_seen() {
    let framed = |length: u8, pickle: &[u8]| [&[0x80, 4, 0x95, length, 0, 0, 0, 0, 0, 0, 0], pickle].concat();
    assert_eq!(said(&framed(3, b"K\x01.")), [""; 0]);
    // An opcode over the frame's end, a frame within a frame, a frame longer than the file, a STOP before its end.
    for bytes in [framed(1, b"K\x01."), framed(12, &framed(1, b"N.")), framed(200, b"N."), framed(3, b"N.K\x01.")] {
        assert!(ids(&bytes).contains(&"pickle-smuggled"), "{}", bytes.escape_ascii());
    }
}

#[test]
fn pickles_inside_of_bytes_are_seen() {
    let system = b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.";
    let within = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [b"\x80\x03B".as_slice(), &length, bytes, b"."].concat()
    };
    let hexadecimal: String = system.iter().map(|byte| format!("{byte:02x}")).collect();
    for bytes in [
        within(system),
        within(b"cos\nsystem\n(Vx\ntR."),
        within(&within(system)),
        within(hexadecimal.as_bytes()),
        within(b"gAJjb3MKc3lzdGVtClgBAAAAeIVSLg=="),
    ] {
        assert_eq!(ids(&bytes), ["pickle-dangerous"], "{}", bytes.escape_ascii());
    }
    assert_eq!(ids(&within(b"\x80\x04\x8c\x05hello.")), [""; 0]);
}

#[test]
fn containers_of_pickles_are_looked_into() {
    let (system, harmless) = (call("os", "system"), b"\x80\x02}.".as_slice());
    let mut odd = zip(&[("a/b", &system)], true);
    // The CRC-32 of both headers is wrong; whoever loads the member may not look.
    for at in [14, odd.len() - 22 - 46 - 3 + 16] {
        odd[at] ^= 1;
    }
    let mut encrypted = zip(&[("a", &system)], false);
    encrypted[6] |= 1;
    let second = [zip(&[("x/data.pkl", &system)], false), zip(&[("y/data.pkl", harmless)], false)].concat();
    let behind = [harmless, &zip(&[("a", &system)], false)].concat();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&system).unwrap();
    let mut tar = vec![0; 512];
    tar[..5].copy_from_slice(b"a.pkl");
    tar[124..135].copy_from_slice(format!("{:011o}", system.len()).as_bytes());
    tar[257..262].copy_from_slice(b"ustar");
    tar.extend(&system);
    tar.resize(1536, 0);
    let cut = zip(&[("m/data.pkl", &system)], false);
    for (what, bytes) in [
        ("stored", zip(&[("any/name.txt", &system)], false)),
        ("deflated", zip(&[("any/name.txt", &system)], true)),
        ("beside torch's own", zip(&[("m/data.pkl", harmless), ("m/extra/0", &system)], false)),
        ("zip in zip", zip(&[("z", &zip(&[("p", &system)], true))], true)),
        ("npy", npy(&system)),
        ("npz", zip(&[("a.npy", &npy(&system))], true)),
        ("wrong CRC-32", odd),
        ("said to be encrypted", encrypted),
        ("two zips in one file", second),
        ("a zip behind a pickle", behind),
        ("gzip", gzip.finish().unwrap()),
        ("tar", tar),
        ("zip without its end", cut[..cut.len() - 30].to_vec()),
    ] {
        assert!(ids(&bytes).contains(&"pickle-dangerous"), "{what}: {:?}", ids(&bytes));
    }
    // Bytes of a storage are numbers, whatever they look like.
    assert_eq!(ids(&zip(&[("m/data.pkl", harmless), ("m/data/0", &system)], false)), [""; 0]);
    let found = scan(&zip(&[("m/data.pkl", &system)], false));
    assert!(found[0].message.ends_with("(in m/data.pkl)"), "{}", found[0].message);
    assert_eq!(found[0].offset, Some(30 + 10 + 14));
    assert_eq!(ids(b"7z\xbc\xaf\x27\x1c\0\0"), ["pickle-unscanned"]);
}

#[test]
fn torch_of_before_1_6_is_five_pickles_and_not_more() {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let head = [magic.as_slice(), b"\x80\x02M\xe9\x03.\x80\x02}."].concat();
    // The storages behind are numbers.
    let good = [head.as_slice(), b"\x80\x02}.\x80\x02].", &call("os", "system")].concat();
    assert_eq!(said(&good), [""; 0]);
    let bad = [head.as_slice(), &call("os", "system"), b"\x80\x02]."].concat();
    assert_eq!(ids(&bad), ["pickle-dangerous"]);
}

#[test]
fn bombs_end_at_a_limit() {
    let mut laughs = b"\x80\x02X\x03\0\0\0lol".to_vec();
    for _ in 0..12 {
        // A list of ten times what was there before.
        laughs.extend(b"q\x010](h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01e");
    }
    laughs.push(b'.');
    // The same, each list filled only after the next one holds it.
    let mut late = b"\x80\x02(".to_vec();
    for level in 0..12 {
        late.extend([b']', b'q', level]);
    }
    for level in 1..12 {
        late.extend([b'h', level, b'(']);
        late.extend([b'h', level - 1].repeat(10));
        late.push(b'e');
    }
    late.extend(b"t.");
    let memory = b"\x80\x02cbuiltins\nbytearray\n\x8a\x08\0\0\0\0\0\0\0\x10\x85R.".to_vec();
    let before = on_processor();
    for bytes in [laughs, late, memory] {
        assert_eq!(ids(&bytes), ["pickle-bomb"]);
    }
    // Twenty thousand beginnings of pickles behind a pickle.
    let tail = [b"\x80\x02N.\xff".as_slice(), &b"\x80\x02NN".repeat(20_000)].concat();
    assert_eq!(said(&tail), ["pickle-trailing at 4"]);
    let spent = on_processor().saturating_sub(before);
    assert!(spent < Duration::from_secs(20), "{spent:?}");
}

/// How long this thread has run, whatever else the machine has to do: the first field of Linux's `schedstat`.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn ordinary_pickles_are_no_alarm() {
    for (what, bytes) in [
        ("state dict", b"\x80\x02ccollections\nOrderedDict\nq\x00)R}X\x09\0\0\0_metadatah\x00)Rsb.".to_vec()),
        ("Namespace", b"\x80\x04\x8c\x08argparse\x8c\x09Namespace\x93)\x81}\x8c\x02lrK\x01sb.".to_vec()),
        ("numpy", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85c_codecs\nencode\nX\x01\0\0\0bX\x06\0\0\0latin1\x86R\x87R.".to_vec()),
        ("set of Python 2", b"c__builtin__\nset\n(]tR.".to_vec()),
        ("defaultdict of lists", b"\x80\x02ccollections\ndefaultdict\ncbuiltins\nlist\n\x85R.".to_vec()),
        ("device", call("torch", "device")),
        ("path", call("pathlib", "PosixPath")),
    ] {
        assert_eq!(ids(&bytes), [""; 0], "{what}");
    }
    // Unknown classes, made, called with a value as enumerations are, and by the name of a member: notes.
    for bytes in [
        call("transformers.trainer_utils", "IntervalStrategy"),
        b"\x80\x02ca.b\nConfig\n)\x81}X\x01\0\0\0aK\x01sb.".to_vec(),
        b"\x80\x02cbuiltins\ngetattr\nca.b\nMode\nX\x02\0\0\0NO\x86R.".to_vec(),
    ] {
        assert_eq!(ids(&bytes), ["pickle-unknown-class"], "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_pickle_is_left_alone() {
    for bytes in [
        b"".as_slice(),
        b"create\nfile.txt\nnow\n",
        b"# Model\ncos\nsystem\n",
        b"(imagine a model)\n",
        b"{\"a\": 1}",
        b"\x80\x05\0\0\0\0\0\0{\"a\":{}}",
        b"GGUF\x03\0\0\0",
        b"I am a licence.\n",
        b".",
        b"\x80",
        &[0x80; 600],
    ] {
        assert_eq!(ids(bytes), [""; 0], "{}", bytes.escape_ascii());
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let file = zip(&[("m/data.pkl", &call("os", "system")), ("a.npy", &npy(&call("a", "B")))], true);
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0xff;
        // Never a panic; the other answers are the tests above.
        let _ = (ids(&file[..at]), ids(&damaged));
    }
}
