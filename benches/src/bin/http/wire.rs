//! A connection of the load: no more of HTTP/1.1 than these measurements need, so that the load costs little beside what
//! it measures.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for a usual answer.
const ANSWER_BYTES: usize = 2_048;

/// One connection to a server.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
    /// Where the unread part of `read` begins.
    at: usize,
}

/// An answer whose body is read.
pub struct Answer<'a> {
    pub status: u16,
    /// Status line and headers.
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The first header of this lowercase name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The answer as a text, for errors.
    pub fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(self.head), String::from_utf8_lossy(self.body))
    }
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Bytes up to the body.
    len: usize,
    length: Length,
}

/// How long a body is.
enum Length {
    Known(usize),
    Chunked,
}

impl Wire {
    pub async fn open(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, read: Vec::with_capacity(ANSWER_BYTES), at: 0 })
    }

    /// Sends a request and reads its whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, String> {
        let head = self.send(request).await?;
        let length = match head.length {
            Length::Known(length) => {
                while self.read.len() < head.len + length {
                    self.more().await?;
                }
                length
            }
            Length::Chunked => {
                // The body takes the place of its chunks.
                self.at = head.len;
                let mut end = head.len;
                while let Some((from, until)) = self.chunk().await? {
                    self.read.copy_within(from..until, end);
                    end += until - from;
                }
                end - head.len
            }
        };
        let (head_bytes, body) = self.read.split_at(head.len);
        Ok(Answer { status: head.status, head: head_bytes, body: &body[..length] })
    }

    /// Sends a request whose answer is a stream, and reads its head: status and text. Its pieces follow.
    pub async fn begin(&mut self, request: &[u8]) -> Result<(u16, String), String> {
        let head = self.send(request).await?;
        self.at = head.len;
        let text = String::from_utf8_lossy(&self.read[..head.len]).into_owned();
        match head.length {
            Length::Chunked => Ok((head.status, text)),
            Length::Known(_) => Err(format!("an answer that is no stream: {text}")),
        }
    }

    /// The next piece of the stream; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.at == self.read.len() {
            self.read.clear();
            self.at = 0;
        }
        Ok(self.chunk().await?.map(|(from, until)| self.read[from..until].to_vec()))
    }

    async fn send(&mut self, request: &[u8]) -> Result<Head, String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        self.read.clear();
        loop {
            self.more().await?;
            if let Some(len) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                return Head::parse(&self.read[..len + 4]);
            }
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => Err(format!("the server hung up after {:?}", String::from_utf8_lossy(&self.read))),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where the next chunk's data stands in `read`; `None` at the end of the body.
    async fn chunk(&mut self) -> Result<Option<(usize, usize)>, String> {
        loop {
            let rest = &self.read[self.at..];
            if let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&rest[..line]).ok();
                let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
                let size = size.ok_or_else(|| format!("no chunk: {:?}", String::from_utf8_lossy(rest)))?;
                let from = self.at + line + 2;
                let until = from + size;
                if self.read.len() >= until + 2 {
                    self.at = until + 2;
                    return Ok((size > 0).then_some((from, until)));
                }
            }
            self.more().await?;
        }
    }
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, String> {
        let text = || String::from_utf8_lossy(head);
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<usize>().ok();
        let status = head.get(9..12).and_then(number).ok_or_else(|| format!("no answer: {}", text()))?;
        let length = match header(head, b"content-length") {
            Some(value) => Length::Known(number(value).ok_or_else(|| format!("no length: {}", text()))?),
            None if status == 204 => Length::Known(0),
            None if header(head, b"transfer-encoding").is_some() => Length::Chunked,
            None => return Err(format!("an answer without a length: {}", text())),
        };
        Ok(Self { status: status as u16, len: head.len(), length })
    }
}

/// The first header of this lowercase name.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::Wire;

    /// A server that says this to whoever asks, in two parts.
    async fn saying(first: &'static str, second: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(first.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(second.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn bodies_with_a_length_in_chunks_and_none() {
        let address = saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhe", "llo").await;
        let mut wire = Wire::open(&address).await.unwrap();
        let answer = wire.ask(b"x").await.unwrap();
        assert_eq!((answer.status, answer.body, answer.header("a")), (200, &b"hello"[..], Some("b")));

        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2";
        let address = saying(head, "\r\nlo\r\n0\r\n\r\n").await;
        let mut wire = Wire::open(&address).await.unwrap();
        assert_eq!(wire.ask(b"x").await.unwrap().body, b"hello");
        let address = saying(head, "\r\nlo\r\n0\r\n\r\n").await;
        let mut wire = Wire::open(&address).await.unwrap();
        assert_eq!(wire.begin(b"x").await.unwrap().0, 200);
        assert_eq!(wire.piece().await.unwrap().unwrap(), b"hel");
        assert_eq!(wire.piece().await.unwrap().unwrap(), b"lo");
        assert_eq!(wire.piece().await.unwrap(), None);

        let mut wire = Wire::open(&saying("HTTP/1.1 204 No Content\r\n", "\r\n").await).await.unwrap();
        assert_eq!(wire.ask(b"x").await.unwrap().body, b"");
        let mut wire = Wire::open(&saying("HTTP/1.1 200 OK\r\n\r\n", "").await).await.unwrap();
        assert!(wire.ask(b"x").await.is_err(), "nobody says where it ends");
    }
}
