//! The framing below every message of the server.

use odin_core::wire::frame::{HEADER_BYTES_MAX, Opcode, close, header, ping, pong, text};

#[test]
fn a_header_has_the_shortest_form() {
    for (len, expected) in [
        (0, &[0x81, 0][..]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 0xff, 0xff]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let header = header(Opcode::Text, len);
        assert_eq!(&header[..], expected, "{len}");
        assert!(header.len() <= HEADER_BYTES_MAX);
    }
}

#[test]
fn a_text_frame_is_one_allocation_without_slack() {
    let frame = text(|sink| {
        sink.put(b"ab");
        sink.put(b"");
        sink.put(b"c");
    });
    assert_eq!(&frame[..], b"\x81\x03abc");
    let frame = Vec::from(text(|sink| sink.put(&[b'x'; 70_000])));
    assert_eq!(frame[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    assert_eq!((frame.len(), frame.capacity()), (70_010, 70_010));
}

#[test]
fn control_frames() {
    assert_eq!(&ping(b"")[..], b"\x89\x00");
    assert_eq!(&pong(b"beat")[..], b"\x8a\x04beat");
    assert_eq!(
        &close(4008, "slow_consumer")[..],
        b"\x88\x0f\x0f\xa8slow_consumer"
    );
    assert_eq!(&close(1000, "")[..], b"\x88\x02\x03\xe8");
}

#[test]
fn control_frames_never_exceed_125_bytes() {
    assert_eq!(pong(&[7; 125]).len(), 2 + 125);
    let cut = pong(&[7; 126]);
    assert_eq!(cut[..2], [0x8a, 125]);
    assert_eq!(cut.len(), 2 + 125);
    assert_eq!(close(1000, &"x".repeat(200)).len(), 2 + 125);
    // 123 bytes are left for the reason; 62 characters of two bytes do not fit, 61 do.
    let cut = close(1000, &"é".repeat(62));
    assert_eq!(cut[1], 2 + 122);
    assert_eq!(core::str::from_utf8(&cut[4..]), Ok("é".repeat(61).as_str()));
}
