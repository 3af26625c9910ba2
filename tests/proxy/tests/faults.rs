//! Every fault against a broker of a few lines, which answers each request with its correlation id and its number.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use kafka_proxy::{ApiKey, Proxy, Rule};

const SOON: Duration = Duration::from_secs(20);
/// For things that must not happen; too short a time can only make such a test blind, never fail.
const A_WHILE: Duration = Duration::from_millis(100);

/// Starts the broker; gives its address and the correlation ids of the requests that arrive.
fn broker() -> (SocketAddr, Receiver<i32>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, arrivals) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let arrived = arrived.clone();
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                while let Some(request) = read(&mut stream) {
                    let id: [u8; 4] = request.get(4..8).unwrap().try_into().unwrap();
                    arrived.send(i32::from_be_bytes(id)).ok();
                    if stream.write_all(&[&8_u32.to_be_bytes()[..], &id, b"done"].concat()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, arrivals)
}

fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn setup() -> (Proxy, Receiver<i32>) {
    let (address, arrivals) = broker();
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), address).unwrap();
    (proxy, arrivals)
}

struct Client(TcpStream);

impl Client {
    fn new(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, api_key: ApiKey, id: i32) {
        let body = [&api_key.0.to_be_bytes()[..], &[0, 1], &id.to_be_bytes(), &[0, 2], b"me"].concat();
        let length = u32::try_from(body.len()).unwrap();
        self.0.write_all(&[&length.to_be_bytes()[..], &body].concat()).unwrap();
    }

    /// The id of the next answer; none when the connection is closed.
    fn answer(&mut self) -> Option<i32> {
        let bytes = read(&mut self.0)?;
        Some(i32::from_be_bytes(*bytes.first_chunk().unwrap()))
    }

    fn assert_silence(&mut self) {
        self.0.set_read_timeout(Some(A_WHILE)).unwrap();
        let error = self.0.read(&mut [0]).expect_err("nothing was to come, not even an end");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        self.0.set_read_timeout(Some(SOON)).unwrap();
    }
}

fn assert_nothing_arrives(arrivals: &Receiver<i32>) {
    assert_eq!(arrivals.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
}

#[test]
fn messages_pass_and_are_counted() {
    let (proxy, arrivals) = setup();
    let mut client = Client::new(&proxy);
    for id in 0..100 {
        client.ask(ApiKey::PRODUCE, id);
    }
    for id in 0..100 {
        assert_eq!(client.answer(), Some(id));
        assert_eq!(arrivals.recv_timeout(SOON), Ok(id));
    }
    assert_eq!((proxy.requests(ApiKey::PRODUCE), proxy.responses(ApiKey::PRODUCE)), (100, 100));
    assert_eq!(proxy.requests(ApiKey::END_TXN), 0);
    assert!(proxy.transcript().contains("(me) -> Produce #99"));
}

#[test]
fn the_nth_request_is_held_until_it_is_released() {
    let (proxy, arrivals) = setup();
    let held = proxy.add(Rule::request(ApiKey::END_TXN).nth(2).hold());
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::END_TXN, 1);
    client.ask(ApiKey::PRODUCE, 2);
    client.ask(ApiKey::END_TXN, 3);
    client.ask(ApiKey::PRODUCE, 4);
    held.wait_hit(SOON).unwrap();
    assert_eq!((client.answer(), client.answer()), (Some(1), Some(2)));
    client.assert_silence();
    held.release();
    assert_eq!((client.answer(), client.answer()), (Some(3), Some(4)));
    assert_eq!(held.hits(), 1);
    assert_eq!(arrivals.iter().take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn bytes_held_on_the_broker_side_outlive_the_client_that_sent_them() {
    let (proxy, arrivals) = setup();
    let ghost = proxy.add(Rule::request(ApiKey::END_TXN).hold().and_cut_client());
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::END_TXN, 1);
    assert_eq!(client.answer(), None);
    drop(client);
    let mut retry = Client::new(&proxy);
    retry.ask(ApiKey::END_TXN, 2);
    retry.ask(ApiKey::PRODUCE, 3);
    assert_eq!((retry.answer(), retry.answer()), (Some(2), Some(3)));
    assert_eq!(arrivals.iter().take(2).collect::<Vec<_>>(), [2, 3]);
    assert_nothing_arrives(&arrivals);
    ghost.release();
    assert_eq!(arrivals.recv_timeout(SOON), Ok(1));
    retry.assert_silence();
}

#[test]
fn a_lost_request_never_arrives_and_a_lost_response_did() {
    let (proxy, arrivals) = setup();
    proxy.add(Rule::request(ApiKey::END_TXN).lose().and_cut_client());
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::END_TXN, 1);
    assert_eq!(client.answer(), None);
    assert_nothing_arrives(&arrivals);

    proxy.add(Rule::response(ApiKey::END_TXN).lose().and_cut_client());
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::END_TXN, 2);
    assert_eq!(client.answer(), None);
    assert_eq!(arrivals.recv_timeout(SOON), Ok(2));
}

#[test]
fn several_messages_in_a_row_are_lost_and_only_matching_ones() {
    let (proxy, _arrivals) = setup();
    let rule = Rule::request(ApiKey::PRODUCE).matching(|message| message.correlation_id > 10).times(2).lose();
    let lost = proxy.add(rule);
    let mut client = Client::new(&proxy);
    for id in [1, 11, 2, 12, 13] {
        client.ask(ApiKey::PRODUCE, id);
    }
    assert_eq!([client.answer(), client.answer(), client.answer()], [Some(1), Some(2), Some(13)]);
    assert_eq!(lost.hits(), 2);
}

#[test]
fn a_delayed_response_comes() {
    let (proxy, _arrivals) = setup();
    let delayed = proxy.add(Rule::response(ApiKey::PRODUCE).delay(A_WHILE));
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::PRODUCE, 1);
    delayed.wait_hit(SOON).unwrap();
    assert_eq!(client.answer(), Some(1));
}

#[test]
fn a_black_hole_swallows_everything_until_it_is_healed() {
    let (proxy, arrivals) = setup();
    let mut idle = Client::new(&proxy);
    idle.ask(ApiKey::FETCH, 0);
    assert_eq!(idle.answer(), Some(0));
    assert_eq!(arrivals.recv_timeout(SOON), Ok(0));
    let hole = proxy.add(Rule::response(ApiKey::END_TXN).lose().and_black_hole());
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::END_TXN, 1);
    hole.wait_hit(SOON).unwrap();
    assert_eq!(arrivals.recv_timeout(SOON), Ok(1));
    client.ask(ApiKey::PRODUCE, 2);
    let mut newcomer = Client::new(&proxy);
    newcomer.ask(ApiKey::PRODUCE, 3);
    assert_nothing_arrives(&arrivals);
    newcomer.assert_silence();
    proxy.heal();
    assert_eq!((client.answer(), newcomer.answer()), (None, None));
    idle.ask(ApiKey::FETCH, 4);
    assert_eq!(idle.answer(), Some(4));
}

#[test]
fn clients_are_cut_and_refused() {
    let (proxy, _arrivals) = setup();
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::PRODUCE, 1);
    assert_eq!(client.answer(), Some(1));
    proxy.cut_clients();
    assert_eq!(client.answer(), None);
    proxy.refuse(true);
    assert_eq!(Client::new(&proxy).answer(), None);
    proxy.refuse(false);
    let mut client = Client::new(&proxy);
    client.ask(ApiKey::PRODUCE, 2);
    assert_eq!(client.answer(), Some(2));
}

#[test]
fn waiting_for_what_does_not_come_is_an_error() {
    let (proxy, _arrivals) = setup();
    assert!(proxy.wait_for_requests(ApiKey::PRODUCE, 1, A_WHILE).is_err());
    let never = proxy.add(Rule::request(ApiKey::PRODUCE).hold());
    assert!(never.wait_hit(A_WHILE).is_err());
}
