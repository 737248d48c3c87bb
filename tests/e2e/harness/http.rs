//! Just enough HTTP/1.1, by hand: a client that can also misbehave, and what the scripted
//! backends read requests with.

use super::DEADLINE;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A request or a response.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The value of a header, its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `error` of a JSON body.
    pub(crate) fn error(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()));
        json["error"].as_str().unwrap_or_else(|| panic!("no error in {json}")).to_owned()
    }
}

/// Reads one message; `None` if the connection ended before it began.
pub(crate) fn read(from: &mut impl BufRead, to_head: bool) -> io::Result<Option<Message>> {
    let Some(start) = read_line(from)? else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut message = Message { start, headers, body: Vec::new() };
    if to_head || (message.start.starts_with("HTTP/") && matches!(message.status(), 204 | 304)) {
        return Ok(Some(message));
    }
    if message.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        message.body = read_chunks(from)?;
    } else if let Some(length) = message.header("content-length") {
        let length = length.parse().map_err(|_| Error::from(ErrorKind::InvalidData))?;
        message.body = vec![0; length];
        from.read_exact(&mut message.body)?;
    }
    Ok(Some(message))
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(from)?.ok_or(ErrorKind::UnexpectedEof)?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| ErrorKind::InvalidData)?;
        if from.take(size).read_to_end(&mut body)? as u64 != size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if read_line(from)? != Some(String::new()) {
            return Err(ErrorKind::InvalidData.into());
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.take(64 * 1024).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if !line.ends_with(b"\r\n") {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map(Some).map_err(|_| ErrorKind::InvalidData.into())
}

/// One connection to the relay (or to a database).
pub(crate) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).expect("the server listens")
    }

    /// To a server that may be gone.
    pub(crate) fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent. Gives whether the connection was still open.
    pub(crate) fn end(&self) -> bool {
        self.stream.shutdown(Shutdown::Write).is_ok()
    }

    /// The next response; `None` if the relay closed the connection instead.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Message>> {
        read(&mut self.reader, false)
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: relay\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let sized = ["content-length", "transfer-encoding"];
        if !headers.iter().any(|(name, _)| sized.iter().any(|size| name.eq_ignore_ascii_case(size)))
        {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        self.send(&[request.as_bytes(), body].concat()).expect("the server reads the request");
        let response = read(&mut self.reader, method == "HEAD");
        response.expect("an HTTP response in time").expect("an answer before the connection ends")
    }

    /// Posts to `/write?QUERY`.
    #[track_caller]
    pub(crate) fn write(&mut self, query: &str, body: impl AsRef<[u8]>) -> Message {
        self.request("POST", &format!("/write?{query}"), &[], body.as_ref())
    }

    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Message {
        self.request("GET", target, &[], b"")
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
