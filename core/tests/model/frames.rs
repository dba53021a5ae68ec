//! Frames as a client reads them (RFC 6455 5.2), and as this test makes them.

/// A whole frame from the server.
#[derive(Debug)]
pub(crate) enum Frame {
    Text(String),
    Ping,
    Pong,
    Close(u16),
}

/// Takes the first whole frame off the stream; `None`: it is not whole yet.
pub(crate) fn take(stream: &mut Vec<u8>) -> Option<Frame> {
    let (&first, &second) = (stream.first()?, stream.get(1)?);
    assert_eq!(first & 0x70, 0, "no reserved bit is set");
    assert_ne!(first & 0x80, 0, "the server does not fragment");
    assert_eq!(second & 0x80, 0, "the server does not mask");
    let (header, len) = match second & 0x7f {
        126 => {
            let bytes = stream.get(2..4)?;
            let len = usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
            assert!(len > 125, "a length takes the shortest form");
            (4, len)
        }
        127 => panic!("no frame of this test is that long"),
        len => (2, usize::from(len)),
    };
    let payload = stream.get(header..header + len)?.to_vec();
    stream.drain(..header + len);
    Some(match first & 0x0f {
        1 => Frame::Text(String::from_utf8(payload).expect("text is UTF-8")),
        8 => Frame::Close(u16::from(payload[0]) << 8 | u16::from(payload[1])),
        9 => Frame::Ping,
        10 => Frame::Pong,
        opcode => panic!("the server sends no frame with opcode {opcode}"),
    })
}

/// A text frame.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    let len = u16::try_from(text.len()).unwrap();
    if len <= 125 {
        frame.push(len as u8);
    } else {
        frame.push(126);
        frame.extend(len.to_be_bytes());
    }
    frame.extend(text.as_bytes());
    frame
}
