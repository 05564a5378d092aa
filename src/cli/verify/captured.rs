//! A request as somebody captured it: the text of its head and the bytes of its body.
//!
//! It must not mend what it reads: what is wrong with it may be what is looked for.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// A captured request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Captured {
    pub(super) method: Method,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Reads a request: its line, its headers, a blank line, its body. Says what is wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<Captured, String> {
    let mut rest = bytes;
    let line = next_line(&mut rest).unwrap_or_default();
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let method = words.next().and_then(|word| Method::from_bytes(word.as_bytes()).ok());
    let (Some(method), Some(target)) = (method, words.next()) else {
        return Err("its first line has no method and target".to_owned());
    };
    let mut headers = HeaderMap::new();
    while let Some(line) = next_line(&mut rest).filter(|line| !line.is_empty()) {
        let (name, value) = super::header(&line).map_err(|problem| format!("a header line: {problem}"))?;
        headers.append(name, value);
    }
    Ok(Captured {
        query: target.split_once('?').map(|(_, query)| query.to_owned()),
        body: body(rest, &headers).into(),
        method,
        headers,
    })
}

/// A header given twice is there twice, as it was received.
pub(super) fn together(headers: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.clone(), value.clone());
    }
    map
}

/// The next line without its end; `None` at the end of everything.
fn next_line(rest: &mut &[u8]) -> Option<String> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (line, after) = rest.split_at_checked(end)?;
    *rest = after.get(1..).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Some(String::from_utf8_lossy(line).into_owned())
}

/// As long as the headers say: what a capture has beyond that, such as a line end of an editor, was not sent.
fn body(rest: &[u8], headers: &HeaderMap) -> Vec<u8> {
    let is_chunked = headers
        .get(http::header::TRANSFER_ENCODING)
        .is_some_and(|coding| coding == "chunked");
    if let Some(body) = unchunked(rest).filter(|_| is_chunked) {
        return body;
    }
    let length = headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    length
        .and_then(|length: usize| rest.get(..length))
        .unwrap_or(rest)
        .to_vec()
}

/// The data of a chunked body (RFC 9112, 7.1); `None` where these bytes are none, as when a tool has put them together.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = next_line(&mut rest)?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?;
        next_line(&mut rest).filter(String::is_empty)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_either_line_end() {
        let text = "POST /hooks/sms?a=%20b HTTP/1.1\r\nHost: x\r\nX-A:1\r\nx-a: 2\r\n\r\n{\r\n}\n";
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!((read.method.as_str(), read.query.as_deref()), ("POST", Some("a=%20b")));
        assert_eq!(read.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(&read.body[..], b"{\r\n}\n");
        let unix = parse(text.replace('\r', "").as_bytes()).unwrap();
        assert_eq!((unix.headers, &unix.body[..]), (read.headers, &b"{\n}\n"[..]));
    }

    #[test]
    fn the_body_is_as_long_as_the_headers_say() {
        let body = |head: &str, body: &str| {
            parse(format!("POST / HTTP/1.1\n{head}\n\n{body}").as_bytes())
                .unwrap()
                .body
        };
        assert_eq!(&body("Content-Length: 2", "{}\n")[..], b"{}");
        assert_eq!(&body("Content-Length: 9", "{}\n")[..], b"{}\n");
        assert_eq!(
            &body("Transfer-Encoding: chunked", "1\r\n{\r\n1;x\r\n}\r\n0\r\n\r\n")[..],
            b"{}"
        );
        assert_eq!(&body("Transfer-Encoding: chunked", "{}")[..], b"{}");
    }

    #[test]
    fn what_is_no_request_says_so() {
        for text in ["", "\n", "POST\n\n", "POST / HTTP/1.1\nno colon\n\n", "{}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(parse(b"GET /?a=1 HTTP/1.1").unwrap().body.len(), 0);
    }

    #[test]
    fn a_header_given_twice_stays_twice() {
        let twice = together(&[
            super::super::header("x-a: 1").unwrap(),
            super::super::header("X-A: 2").unwrap(),
        ]);
        assert_eq!(twice.get_all("x-a").iter().count(), 2);
    }
}
