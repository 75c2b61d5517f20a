//! Every opcode, and pickles that mean harm.

use proptest::prelude::*;

use super::*;
use crate::facts::Id;

/// Reads a pickle and shows its value in one line.
fn show(bytes: &[u8]) -> String {
    match read(&mut Cursor::new(bytes, 0)) {
        Ok((pickle, root)) => display(&pickle, root),
        Err(finding) => format!("{} at {}", finding.id.name(), finding.offset.unwrap_or_default()),
    }
}

fn display(pickle: &Pickle<'_>, node: Node) -> String {
    let all = |items: &[Node]| items.iter().map(|item| display(pickle, *item)).collect::<Vec<_>>().join(" ");
    let pairs = |items: &[(Node, Node)]| {
        items
            .iter()
            .map(|&(key, value)| format!("{}:{}", display(pickle, key), display(pickle, value)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    match pickle.get(node) {
        Value::None => "None".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Big(digits) => format!("big {digits}"),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("b{:?}", bytes.escape_ascii().to_string()),
        Value::List(items) => format!("[{}]", all(items)),
        Value::Tuple(items) => format!("({})", all(items)),
        Value::Set(items) => format!("set({})", all(items)),
        Value::Dict(items) => format!("{{{}}}", pairs(items)),
        Value::Global(_) => pickle.global(node).map(|global| format!("{}.{}", global.module, global.name)).unwrap(),
        Value::Persistent(id) => format!("id {}", display(pickle, *id)),
        Value::Buffer => "buffer".to_owned(),
        Value::Object(object) => {
            let state = object.state.map(|state| display(pickle, state));
            let args = display(pickle, object.args);
            let class = display(pickle, object.class);
            let kwargs = object.kwargs.map(|kwargs| display(pickle, kwargs)).unwrap_or_default();
            format!("{class}{args}{kwargs} {state:?} {{{}}} [{}]", pairs(&object.items), all(&object.list))
        }
    }
}

#[test]
fn scalars_of_every_protocol() {
    for (bytes, shown) in [
        (b"N.".as_slice(), "None"),
        (b"\x88.", "true"),
        (b"I01\n.", "true"),
        (b"I-7\n.", "-7"),
        (b"L123456789012345678901234567890L\n.", "big 123456789012345678901234567890"),
        (b"J\xff\xff\xff\xff.", "-1"),
        (b"K\xff.", "255"),
        (b"M\x01\x02.", "513"),
        (b"\x8a\x00.", "0"),
        (b"\x8a\x01\x80.", "-128"),
        (b"\x8a\x09\0\0\0\0\0\0\0\x80\0.", "big 9223372036854775808"),
        (b"\x8b\x02\0\0\0\x00\x01.", "256"),
        (b"F2.5\n.", "2.5"),
        (b"G\x3f\xf8\0\0\0\0\0\0.", "1.5"),
        (b"S'a\\n\\x41\\101\\q'\n.", "\"a\\nAA\\\\q\""),
        (b"S'\\xff'\n.", "b\"\\\\xff\""),
        (b"T\x02\0\0\0ab.", "\"ab\""),
        (b"U\x01\xe9.", "b\"\\\\xe9\""),
        (b"Vh\\u00e9\xe9\n.", "\"h\u{e9}\u{e9}\""),
        (b"X\x02\0\0\0\xc3\xa9.", "\"\u{e9}\""),
        (b"\x8c\x01a.", "\"a\""),
        (b"\x8d\x01\0\0\0\0\0\0\0a.", "\"a\""),
        (b"B\x01\0\0\0a.", "b\"a\""),
        (b"C\x01a.", "b\"a\""),
        (b"\x8e\x01\0\0\0\0\0\0\0a.", "b\"a\""),
        (b"\x96\x01\0\0\0\0\0\0\0a.", "b\"a\""),
        (b"\x97\x98.", "buffer"),
    ] {
        assert_eq!(show(bytes), shown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn containers_and_the_stack() {
    for (bytes, shown) in [
        (b"(K\x01K\x02l.".as_slice(), "[1 2]"),
        (b"]K\x01a(K\x02K\x03e.", "[1 2 3]"),
        (b"(K\x01K\x02t.", "(1 2)"),
        (b")K\x01\x85K\x02K\x03\x86\x86\x85.", "(((1) (2 3)))"),
        (b"K\x01K\x02K\x03\x87.", "(1 2 3)"),
        (b"}K\x01K\x02s(K\x03Nu.", "{1:2 3:None}"),
        (b"(K\x01K\x02d.", "{1:2}"),
        (b"\x8f(K\x01\x90.", "set(1)"),
        (b"(K\x01\x91.", "set(1)"),
        (b"K\x01K\x020.", "1"),
        (b"K\x01(K\x02K\x031.", "1"),
        (b"K\x01(0.", "1"),
        (b"K\x012\x86.", "(1 1)"),
        (b"]q\x05h\x05K\x01a0.", "[1]"),
        (b"K\x07r\x00\x00\x00\x01j\x00\x00\x00\x01\x86.", "(7 7)"),
        (b"K\x07p3\ng3\n\x86.", "(7 7)"),
        (b"\x80\x04K\x07\x94K\x08\x94h\x00h\x01\x86.", "(7 8)"),
    ] {
        assert_eq!(show(bytes), shown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn nothing_is_called() {
    for (bytes, shown) in [
        (b"cos\nsystem\n(X\x02\0\0\0idtR.".as_slice(), "os.system(\"id\") None {} []"),
        (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"ca\nB\n)\x81}K\x01K\x02sb(K\x03K\x04u(K\x05e.", "a.B() Some(\"{1:2}\") {3:4} [5]"),
        (b"ca\nB\n)}\x92.", "a.B(){} None {} []"),
        (b"(ca\nB\nK\x01o.", "a.B(1) None {} []"),
        (b"(K\x01ia\nB\n.", "a.B(1) None {} []"),
        (b"K\x01Q.", "id 1"),
        (b"Pname\n.", "id \"name\""),
        (b"\x82\x07.", "copyreg.extension 7"),
    ] {
        assert_eq!(show(bytes), shown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_breaks_the_format_is_said_with_its_place() {
    for (bytes, shown) in [
        (b"".as_slice(), "pickle-invalid at 0"),
        (b"N", "pickle-invalid at 1"),
        (b"K\x01\x86.", "pickle-invalid at 2"),
        (b"(K\x01K\x02(s", "pickle-invalid at 6"),
        (b"t", "pickle-invalid at 0"),
        (b"h\x00.", "pickle-invalid at 0"),
        (b"NNs", "pickle-invalid at 2"),
        (b"NNa", "pickle-invalid at 2"),
        (b"NN\x93", "pickle-invalid at 2"),
        (b"NNb", "pickle-invalid at 2"),
        (b"(K\x01d", "pickle-invalid at 3"),
        (b"X\xff\xff\xff\x7fab", "pickle-invalid at 0"),
        (b"T\xff\xff\xff\xffab", "pickle-invalid at 0"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "pickle-invalid at 0"),
        (b"\x95\xff\0\0\0\0\0\0\0N.", "pickle-invalid at 0"),
        (b"I\n.", "pickle-invalid at 0"),
        (b"Ix\n.", "pickle-invalid at 0"),
        (b"Sab\n.", "pickle-invalid at 0"),
        (b"no", "pickle-invalid at 0"),
    ] {
        assert_eq!(show(bytes), shown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn frames_that_opcodes_reach_over_are_noted() {
    let whole = b"\x80\x04\x95\x03\0\0\0\0\0\0\0K\x01.";
    let broken = b"\x80\x04\x95\x01\0\0\0\0\0\0\0K\x01.";
    let breaks = |bytes: &'static [u8]| read(&mut Cursor::new(bytes, 100)).unwrap().0.frame_breaks;
    assert_eq!(breaks(whole), [0u64; 0]);
    assert_eq!(breaks(broken), [111]);
}

#[test]
fn pickles_follow_each_other() {
    let mut cursor = Cursor::new(b"K\x01.cos\nsystem\n.rest", 0);
    let mut machine = Machine::default();
    let first = machine.run(&mut cursor).unwrap();
    assert_eq!(cursor.offset(), 3);
    machine.run(&mut cursor).unwrap();
    assert_eq!(cursor.rest(), b"rest");
    assert_eq!(machine.pickle().int(first), Some(1));
    assert_eq!(machine.pickle().globals[0].offset, 3);
}

#[test]
fn depth_and_cycles_cost_no_stack() {
    // A list in a list a million times, and a list that holds itself.
    let mut deep = b"]".repeat(1_000_000);
    deep.extend(b"a".repeat(999_999));
    deep.push(b'.');
    let (pickle, root) = read(&mut Cursor::new(&deep, 0)).unwrap();
    assert_eq!(pickle.len(), 1_000_000);
    assert_eq!(pickle.sequence(root).map(<[Node]>::len), Some(1));
    drop(pickle);
    let (pickle, root) = read(&mut Cursor::new(b"]q\x00h\x00a.", 0)).unwrap();
    assert_eq!(pickle.sequence(root), Some([root].as_slice()));
}

#[test]
fn a_far_memo_number_makes_no_room_for_those_before_it() {
    // Each put takes the largest number there is; a machine that made room would need sixteen gigabytes.
    let (pickle, root) = read(&mut Cursor::new(b"K\x01r\xff\xff\xff\xffj\xff\xff\xff\xff\x86.", 0)).unwrap();
    assert_eq!(display(&pickle, root), "(1 1)");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = show_len(&bytes);
    }

    #[test]
    fn random_opcodes_never_panic(
        codes in prop::collection::vec(prop::sample::select(b"(.012Nabde)]}lostuRQq\x00h\x01\x81\x85\x86\x87\x8f\x90\x91\x93\x94\x92K\x02".to_vec()), 0..200),
    ) {
        let _ = show_len(&codes);
    }
}

/// How many values random bytes make: a value that depends on the whole run.
fn show_len(bytes: &[u8]) -> Result<usize, Id> {
    let mut machine = Machine::default();
    machine.run(&mut Cursor::new(bytes, 0)).map(|_| machine.pickle().len()).map_err(|finding| finding.id)
}
