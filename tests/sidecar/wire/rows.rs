//! The rows of the table: bytes that a caller sends, and what may come of them.

mod framing;
mod heads;
mod targets;

/// What may come of a request.
#[derive(Debug, Clone)]
pub(super) enum Want {
    /// It is answered 4xx or with the end of the connection, and no server sees it.
    Refused,
    /// It arrives once, with this target and body, and is answered 200.
    Arrives(String, Vec<u8>),
    /// One or the other: readers of HTTP differ, and either is safe.
    Either(String, Vec<u8>),
}

/// One request.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) want: Want,
    /// With odd slashes kept.
    pub(super) keeps: bool,
}

/// Every row.
pub(super) fn all() -> Vec<Row> {
    [framing::all(), heads::all(), targets::all()].concat()
}

fn row(name: impl Into<String>, bytes: impl Into<Vec<u8>>, want: Want) -> Row {
    Row { name: name.into(), bytes: bytes.into(), want, keeps: false }
}

fn arrives(target: &str, body: &str) -> Want {
    Want::Arrives(target.to_owned(), body.into())
}

fn either(target: &str, body: &str) -> Want {
    Want::Either(target.to_owned(), body.into())
}
