//! How far this machine's clock is from that of a time server: one question by SNTP (RFC 4330).
//!
//! It sets no clock, and believes an answer only so far as to tell somebody to look.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base::Timestamp;
use base::ports::{Clock, Entropy};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// RFC 4330 §4: the header is all that a client needs.
const PACKET_BYTES: usize = 48;
/// Seconds from 1900, where NTP begins, to 1970.
const EPOCH_SECS: i64 = 2_208_988_800;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Version 4, client.
const FROM_CLIENT: u8 = 0b00_100_011;

/// By how many milliseconds the clock is behind the server's; negative when it is ahead.
///
/// # Errors
/// When the server does not answer in time, or says that it does not know the time itself.
pub async fn offset_ms(
    server: SocketAddr,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> io::Result<i64> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut question = [0; PACKET_BYTES];
    question[0] = FROM_CLIENT;
    // A random number instead of our time: the answer must have it, so that nobody else can answer, and
    // our clock is nobody's business.
    let cookie = entropy.next_u64().to_be_bytes();
    question[40..].copy_from_slice(&cookie);
    let sent_at = clock.now();
    socket.send(&question).await?;
    let mut answer = [0; PACKET_BYTES];
    let length = timeout(LIMIT, socket.recv(&mut answer)).await??;
    read(&answer[..length], cookie, sent_at, clock.now())
}

/// RFC 4330 §5.
fn read(
    answer: &[u8],
    cookie: [u8; 8],
    sent_at: Timestamp,
    received_at: Timestamp,
) -> io::Result<i64> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if answer.len() < PACKET_BYTES {
        return Err(wrong("the answer is too short"));
    }
    let (leap, mode) = (answer[0] >> 6, answer[0] & 0b111);
    let (stratum, origin) = (answer[1], &answer[24..32]);
    if mode != 4 || origin != cookie {
        return Err(wrong("it is not the answer to our question"));
    }
    if leap == 3 || !(1..=15).contains(&stratum) {
        return Err(wrong("the server does not know the time"));
    }
    let time = |at: usize| -> Option<i64> {
        let number = |at: usize| {
            let bytes: [u8; 4] = answer.get(at..at + 4)?.try_into().ok()?;
            Some(i64::from(u32::from_be_bytes(bytes)))
        };
        let (mut secs, fraction) = (number(at)?, number(at + 4)?);
        // RFC 4330 §3: after 2036 the seconds begin anew; before 1968 there was no NTP.
        if secs < 1 << 31 {
            secs += 1 << 32;
        }
        Some((secs - EPOCH_SECS) * 1_000 + ((fraction * 1_000) >> 32))
    };
    let times = time(32).zip(time(40));
    let (arrived, left) = times.ok_or_else(|| wrong("the answer is too short"))?;
    Ok(((arrived - sent_at.millis()) + (left - received_at.millis())) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    /// An answer of a server whose clock shows this.
    fn answer(shows: Timestamp) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&COOKIE);
        let secs = u32::try_from((shows.secs() + EPOCH_SECS) % (1 << 32)).unwrap();
        for at in [32, 40] {
            packet[at..at + 4].copy_from_slice(&secs.to_be_bytes());
        }
        packet
    }

    #[test]
    fn the_difference_is_told() {
        // Also after the seconds of NTP have begun anew.
        for now in [1_780_272_000, 2_200_000_000] {
            let (now, shows) = (Timestamp::from_secs(now), Timestamp::from_secs(now + 3_600));
            let later = now + Duration::from_millis(100);
            assert_eq!(
                read(&answer(shows), COOKIE, now, later).unwrap(),
                3_600_000 - 50
            );
            let early = Timestamp::from_secs(now.secs() - 60);
            assert_eq!(read(&answer(early), COOKIE, now, now).unwrap(), -60_000);
        }
    }

    #[test]
    fn what_is_no_answer() {
        let now = Timestamp::from_secs(1_780_272_000);
        let fails = |change: &dyn Fn(&mut [u8])| {
            let mut packet = answer(now);
            change(&mut packet);
            read(&packet, COOKIE, now, now).unwrap_err().to_string()
        };
        assert!(fails(&|p| p[31] = 0).contains("our question"));
        assert!(fails(&|p| p[0] = FROM_CLIENT).contains("our question"));
        assert!(fails(&|p| p[0] |= 0b11_000_000).contains("does not know"));
        // RFC 4330 §8: a kiss of death.
        assert!(fails(&|p| p[1] = 0).contains("does not know"));
        assert!(read(&answer(now)[..47], COOKIE, now, now).is_err());
    }
}
