//! Which paths pass, and how those that pass may be read.

use super::*;

#[test]
fn a_path_that_could_mean_two_things_is_refused() {
    use PathError::*;
    let table: &[(&str, PathError)] = &[
        // not a path
        ("", NotAPath),
        ("*", NotAPath),
        ("example.com:443", NotAPath),
        ("items", NotAPath),
        ("/a?b", NotAPath),
        ("/a#b", NotAPath),
        // separators
        ("//", DoubleSlash),
        ("//items", DoubleSlash),
        ("/docs//items", DoubleSlash),
        ("/items//", DoubleSlash),
        ("//evil.example/items", DoubleSlash),
        ("/docs/%2Fitems", EncodedSlash),
        ("/docs%2fitems", EncodedSlash),
        ("/%2F", EncodedSlash),
        ("/docs\\items", Backslash),
        ("/docs/..\\items", Backslash),
        ("/docs%5Citems", Backslash),
        ("/docs/..%5citems", Backslash),
        // dot segments
        ("/.", DotSegment),
        ("/..", DotSegment),
        ("/./items", DotSegment),
        ("/../items", DotSegment),
        ("/docs/../items", DotSegment),
        ("/docs/./items", DotSegment),
        ("/docs/..", DotSegment),
        ("/docs/.", DotSegment),
        ("/docs/../", DotSegment),
        ("/docs/%2e%2e/items", DotSegment),
        ("/docs/%2E%2E/items", DotSegment),
        ("/docs/.%2e/items", DotSegment),
        ("/docs/%2e./items", DotSegment),
        ("/docs/%2e/items", DotSegment),
        ("/%2e", DotSegment),
        ("/docs/..;/items", DotSegment),
        ("/docs/..;x=y/items", DotSegment),
        ("/docs/.;/items", DotSegment),
        ("/docs/%2e%2e;/items", DotSegment),
        ("/docs/..%3b/items", DotSegment),
        ("/docs/..%3Bx/items", DotSegment),
        ("/docs/..%3f/items", DotSegment),
        ("/docs/..%23/items", DotSegment),
        ("/docs/..%20/items", DotSegment),
        ("/docs/.%20;x/items", DotSegment),
        // encodings
        ("/%", InvalidEscape),
        ("/%2", InvalidEscape),
        ("/%zz", InvalidEscape),
        ("/a%2/b", InvalidEscape),
        ("/a%25%2", InvalidEscape),
        ("/items%", InvalidEscape),
        ("/%u002e%u002e/items", InvalidEscape),
        ("/%+1", InvalidEscape),
        ("/docs/%252e%252e/items", DoubleEncoding),
        ("/docs/%252Fitems", DoubleEncoding),
        ("/%2569tems", DoubleEncoding),
        ("/%25%32%65", DoubleEncoding),
        ("/%25%36%39tems", DoubleEncoding),
        ("/%252%65", DoubleEncoding),
        ("/%25252e", DoubleEncoding),
        // control characters
        ("/%00", ControlCharacter),
        ("/items%00", ControlCharacter),
        ("/items%00.json", ControlCharacter),
        ("/items%0a", ControlCharacter),
        ("/items%0d%0aX-Tollgate-Subject:%20admin", ControlCharacter),
        ("/items%09", ControlCharacter),
        ("/items%7f", ControlCharacter),
        ("/items\u{7f}", ControlCharacter),
        ("/items\t", ControlCharacter),
        // overlong UTF-8
        ("/docs/%c0%ae%c0%ae/items", OverlongUtf8),
        ("/docs%c0%afitems", OverlongUtf8),
        ("/docs%C1%9Citems", OverlongUtf8),
        ("/docs/%e0%80%ae%e0%80%ae/items", OverlongUtf8),
        ("/docs/%f0%80%80%ae/items", OverlongUtf8),
    ];
    for (path, reason) in table {
        assert_eq!(CleanPath::parse(path), Err(*reason), "{path}");
    }
}

#[test]
fn odd_but_unambiguous_paths_pass_unchanged() {
    let table = [
        "/",
        "/items",
        "/items/",
        "/items/1",
        "/.well-known/openid-configuration",
        "/...",
        "/..a",
        "/a..",
        "/a.b/c..d",
        "/.a/..b/",
        "/items;color=red",
        "/items;a=1;b=2/3",
        "/;/x",
        "/100%25",
        "/100%25/more",
        "/50%25off",
        "/a%20b",
        "/a+b",
        "/caf%C3%A9",
        "/café",
        "/%E4%BD%A0%E5%A5%BD",
        "/%e9t%e9",
        "/%F0%9F%98%80",
        "/a:b@c",
        "/a,b!c$d&e'f(g)h*i=j",
        "/~user",
        "/Items",
        "/v1/users/3F2504E0-4F89-11D3-9A0C-0305E82C3301",
        "/search%3Fq",
        "/c%23",
        "/a|b",
        "/\"quoted\"",
        "/{id}",
        "/[1]",
    ];
    for path in table {
        assert_eq!(CleanPath::parse(path).map(|clean| clean.as_str()), Ok(path), "{path}");
    }
}

fn read(path: &str, reading: Reading) -> Vec<String> {
    let clean = CleanPath::parse(path).unwrap();
    clean.segments(Cut::AS_SPELLED, reading).iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

#[test]
fn readings_loosen_what_an_app_may_loosen() {
    assert_eq!(read("/%69tems/A%20b", Reading::AsSpelled), ["items", "A b"]);
    assert_eq!(read("/Items/", Reading::AsSpelled), ["Items", ""]);
    assert_eq!(read("/Items/%41", Reading::Folded), ["items", "a"]);
    assert_eq!(read("/items;x=1/;y/2/", Reading::Stripped), ["items", "2"]);
    assert_eq!(read("/items%3bx/%3f/c%23d", Reading::Stripped), ["items", "c"]);
    assert_eq!(read("/ITEMS;x/", Reading::FoldedAndStripped), ["items"]);
    assert_eq!(read("/\u{17f}ecret/\u{212a}ey/STRA\u{df}E", Reading::Folded), ["secret", "key", "strasse"]);
    assert_eq!(read("/", Reading::AsSpelled), [""]);
    assert!(read("/", Reading::Stripped).is_empty());
}

#[test]
fn another_spelling_of_a_plain_path_is_only_percent_encoding() {
    for (path, spells) in [
        ("/token", true),
        ("/%74oken", true),
        ("/token/", false),
        ("/Token", false),
        ("/token;x", false),
        ("/tokens", false),
        ("/token/x", false),
    ] {
        assert_eq!(CleanPath::parse(path).unwrap().spells("/token"), spells, "{path}");
    }
}

const KEEP_ALL: PathsConfig =
    PathsConfig { encoded_slash: OddSlash::Keep, double_slash: OddSlash::Keep, case_sensitive: false };

#[test]
fn odd_slashes_are_kept_only_where_the_policy_says_so() {
    use OddSlash::{Keep, Reject};
    use PathError::*;
    // (path, refused with both kinds rejected, with encoded ones kept, with double ones kept, with both kept)
    let table = [
        ("/a%2Fb", [Some(EncodedSlash), None, Some(EncodedSlash), None]),
        ("/a%2fb%2F", [Some(EncodedSlash), None, Some(EncodedSlash), None]),
        ("/a//b", [Some(DoubleSlash), Some(DoubleSlash), None, None]),
        ("//a", [Some(DoubleSlash), Some(DoubleSlash), None, None]),
        ("//", [Some(DoubleSlash), Some(DoubleSlash), None, None]),
        ("/a/%2Fb", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
        ("/%2Fa", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
        ("/a%2F%2Fb", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
        ("/a%2F/b", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
        // never
        ("/a%2F..", [Some(EncodedSlash), Some(DotSegment), Some(EncodedSlash), Some(DotSegment)]),
        ("/a/..%2Fb", [Some(EncodedSlash), Some(DotSegment), Some(EncodedSlash), Some(DotSegment)]),
        ("/a%2F%2e%2e;x%2Fb", [Some(EncodedSlash), Some(DotSegment), Some(EncodedSlash), Some(DotSegment)]),
        ("/a//../b", [Some(DoubleSlash), Some(DoubleSlash), Some(DotSegment), Some(DotSegment)]),
        ("/a%252Fb", [Some(DoubleEncoding); 4]),
        ("/a%%2Fb", [Some(InvalidEscape); 4]),
        ("/a%2%2Fb", [Some(InvalidEscape); 4]),
        ("/a%5Cb", [Some(Backslash); 4]),
        ("/a%c0%afb", [Some(OverlongUtf8); 4]),
    ];
    for (path, expected) in table {
        let settings = [(Reject, Reject), (Keep, Reject), (Reject, Keep), (Keep, Keep)];
        let outcomes = settings.map(|(encoded_slash, double_slash)| {
            let paths = PathsConfig { encoded_slash, double_slash, case_sensitive: false };
            let clean = CleanPath::received(path, &paths);
            assert!(clean.is_err() || !clean.is_ok_and(|clean| clean.is_plain()), "{path}");
            assert!(clean.is_ok_and(|clean| clean.as_str() == path) || clean.is_err());
            clean.err()
        });
        assert_eq!(outcomes, expected, "{path}");
    }
}

#[test]
fn a_kept_slash_is_read_in_both_ways() {
    let all = |path: &str| {
        let clean = CleanPath::received(path, &KEEP_ALL).unwrap();
        let text = |cut| {
            let segments = clean.segments(cut, Reading::AsSpelled);
            segments.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect::<Vec<_>>().join("|")
        };
        clean.cuts().map(text).collect::<Vec<_>>()
    };
    assert_eq!(all("/a/b"), ["a|b"]);
    assert_eq!(all("/a%20b"), ["a b"]);
    assert_eq!(all("/a%2Fb/c"), ["a/b|c", "a|b|c"]);
    assert_eq!(all("/a//b"), ["a||b"]);
    assert_eq!(all("//a/b"), ["|a|b", "b"]);
    assert_eq!(all("///a/b"), ["||a|b", "b"]);
    assert_eq!(all("//a"), ["|a", ""]);
    assert_eq!(all("/%2Fa/b"), ["/a|b", "|a|b", "b"]);
    assert_eq!(all("//a%2Fb/c"), ["|a/b|c", "|a|b|c", "c", "b|c"]);
    let clean = CleanPath::received("/a//b%2Fc", &KEEP_ALL).unwrap();
    assert_eq!(clean.decoded().unwrap(), "/a//b%2Fc");
    assert_eq!(clean.decoded_otherwise(), ["/a/b%2Fc", "/a//b%2Fc", "/a/b/c", "/a//b/c"]);
    assert_eq!(clean.segments(Cut::AS_SPELLED, Reading::Stripped), [&b"a"[..], b"b/c"]);
    assert!(CleanPath::parse("/a%20b").unwrap().decoded_otherwise().is_empty());
}

#[test]
fn a_plain_path_has_one_reading() {
    for path in ["/", "/items", "/items/1/x-y_z~.json", "/.well-known/x", "/a:b"] {
        let clean = CleanPath::parse(path).unwrap();
        assert!(clean.is_plain(), "{path}");
        if path != "/" {
            for reading in Reading::ALL {
                let segments: Vec<&[u8]> = clean.plain_segments().collect();
                assert_eq!(clean.segments(Cut::AS_SPELLED, reading), segments, "{path}");
            }
        }
    }
    for path in ["/Items", "/items/", "/items;x", "/%69tems", "/é"] {
        assert!(!CleanPath::parse(path).unwrap().is_plain(), "{path}");
    }
}
