//! Compression of bodies: the sender compresses, the receiver decompresses; the broker does
//! neither.

use crate::Error;
use bytes::Bytes;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use rmq_protocol::message::{
    MessageExt,
    sys_flag::{self, Compression as Kind},
};
use std::io::{self, Read, Write};

/// The limit of an inflated body: 16 times the largest message a broker accepts by default. A few
/// KiB of zeros must not be able to use all memory.
const MAX_INFLATED: u64 = 64 * 1024 * 1024;
/// zlib's level that Java's client uses.
const LEVEL: u32 = 5;
/// Larger bodies are compressed on a blocking thread: it is about a millisecond of work.
const OFF_THREAD: usize = 64 * 1024;

/// The body as zlib, if that is shorter.
///
/// # Errors
/// The process stops.
pub(crate) async fn deflated(body: &Bytes) -> Result<Option<Bytes>, Error> {
    if body.len() < OFF_THREAD {
        return Ok(deflate(body));
    }
    let body = body.clone();
    tokio::task::spawn_blocking(move || deflate(&body)).await.map_err(|_| Error::Stopped)
}

fn deflate(body: &[u8]) -> Option<Bytes> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    // Writing to memory does not fail; if it did, the plain body would be sent.
    written.ok().filter(|deflated| deflated.len() < body.len()).map(Bytes::from)
}

/// The message with its body inflated and its flag updated. A body that cannot be inflated stays as
/// it is, with its flag, so that the application can detect it.
pub(crate) fn inflated(mut message: MessageExt) -> MessageExt {
    let inflated = match sys_flag::compression(message.sys_flag) {
        Ok(None) => return message,
        Ok(Some(kind)) => inflate(kind, &message.message.body),
        Err(error) => Err(io::Error::other(error)),
    };
    match inflated {
        Ok(body) => {
            message.message.body = body;
            message.sys_flag &= !sys_flag::COMPRESSED;
        }
        Err(error) => {
            tracing::warn!(message = message.msg_id, %error, "a body cannot be inflated; it is delivered as it is")
        }
    }
    message
}

fn inflate(kind: Kind, body: &[u8]) -> io::Result<Bytes> {
    let mut plain = Vec::new();
    let read: u64 = match kind {
        Kind::Zlib => ZlibDecoder::new(body).take(MAX_INFLATED + 1).read_to_end(&mut plain)? as u64,
        Kind::Lz4 => lz4_flex::frame::FrameDecoder::new(body).take(MAX_INFLATED + 1).read_to_end(&mut plain)? as u64,
        Kind::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(body).map_err(io::Error::other)?;
            decoder.take(MAX_INFLATED + 1).read_to_end(&mut plain)? as u64
        }
    };
    if read > MAX_INFLATED {
        return Err(io::Error::other(format!("it inflates to more than {MAX_INFLATED} bytes")));
    }
    Ok(Bytes::from(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_deflated_only_if_that_makes_it_shorter_and_comes_back() {
        let text = "the same again and again. ".repeat(1000);
        let deflated = deflate(text.as_bytes()).unwrap();
        assert!(deflated.len() < text.len() / 10);
        assert_eq!(inflate(Kind::Zlib, &deflated).unwrap(), text);
        let noise: Vec<u8> = (0..5000).map(|_| rand::random()).collect();
        assert!(deflate(&noise).is_none());
    }

    #[test]
    fn what_java_clients_compress_with_lz4_and_zstd_is_read() {
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(b"hello hello hello hello").unwrap();
        assert_eq!(inflate(Kind::Lz4, &lz4.finish().unwrap()).unwrap(), "hello hello hello hello");
        let zstd = ruzstd::encoding::compress_to_vec(
            &b"hello hello hello hello"[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        assert_eq!(inflate(Kind::Zstd, &zstd).unwrap(), "hello hello hello hello");
    }

    #[test]
    fn bodies_that_lie_or_explode_are_errors() {
        for kind in [Kind::Zlib, Kind::Lz4, Kind::Zstd] {
            assert!(inflate(kind, b"this is not compressed").is_err(), "{kind:?}");
        }
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::fast());
        let zeros = vec![0; 1024 * 1024];
        for _ in 0..65 {
            bomb.write_all(&zeros).unwrap();
        }
        assert!(inflate(Kind::Zlib, &bomb.finish().unwrap()).unwrap_err().to_string().contains("more than"));
    }
}
