use super::{LOG, Rig, cells_of};
use crate::call::Fault;
use millstream_model::cell;
use millstream_model::column::BytesColumn;

fn texts(elements: Vec<Vec<u8>>) -> Vec<String> {
    elements.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
}

#[test]
fn appending_looks_at_no_list() {
    let mut rig = Rig::new();
    rig.begin(&[b"a", b"b"]);
    rig.append(LOG, &[0, 1, 0], &[b"1", b"2", b"3"]);
    rig.call.apply_state();
    rig.commit();
    rig.call.state.evict(0);
    let before = rig.store.cells_read();
    rig.begin(&[b"a"]);
    rig.append(LOG, &[0], &[b"4"]);
    rig.call.apply_state();
    assert_eq!(rig.store.cells_read(), before);
    rig.commit();
    rig.begin(&[b"a"]);
    assert_eq!(texts(rig.elements(LOG, 0, 0).unwrap()), ["1", "3", "4"]);
}

#[test]
fn elements_stay_in_order_over_epochs_lost_ones_and_restarts() {
    let mut rig = Rig::new();
    let mut expected = Vec::new();
    for round in 0..20 {
        for at in 0..5 {
            let element = format!("{round}-{at}");
            rig.begin(&[b"a"]);
            rig.append(LOG, &[0], &[element.as_bytes()]);
            if at == 3 {
                rig.call.discard();
                continue;
            }
            rig.call.apply_state();
            if round % 3 != 1 {
                expected.push(element);
            }
        }
        match round % 3 {
            0 => drop(rig.commit()),
            1 => rig.call.state.drop_epochs(),
            _ => {
                rig.commit();
                rig = Rig::over(rig.store.clone(), ..super::SEEN);
            }
        }
    }
    rig.begin(&[b"a"]);
    assert_eq!(texts(rig.elements(LOG, 0, 40).unwrap()), expected);
}

#[test]
fn an_element_is_one_cell_and_a_group_has_one_number() {
    let mut rig = Rig::new();
    rig.begin(&[b"a"]);
    rig.append(LOG, &[0, 0, 0], &[b"1", b"", b"3"]);
    rig.call.apply_state();
    let changes = rig.commit();
    assert_eq!(cells_of(&changes).len(), 3);
    let facts = changes.keys.iter().flatten().filter(|key| cell::is_fact_key(key)).count();
    assert_eq!(facts, 1);
    rig.begin(&[b"a"]);
    assert_eq!(texts(rig.elements(LOG, 0, u32::MAX).unwrap()), ["1", "", "3"]);
}

#[test]
fn a_cleared_list_begins_again() {
    let mut rig = Rig::new();
    rig.begin(&[b"a"]);
    rig.append(LOG, &[0, 0], &[b"1", b"2"]);
    rig.call.apply_state();
    rig.commit();
    rig.call.state.evict(0);
    rig.begin(&[b"a"]);
    rig.append(LOG, &[0], &[b"3"]);
    rig.call.clear_state(LOG, &[0]).unwrap();
    rig.append(LOG, &[0], &[b"4"]);
    assert_eq!(texts(rig.elements(LOG, 0, 0).unwrap()), ["4"]);
    rig.call.apply_state();
    rig.commit();
    let cells = rig.store.cells();
    assert_eq!(cells.keys().filter(|key| !cell::is_fact_key(key)).count(), 1);
}

#[test]
fn pages_go_on_where_the_one_before_ended() {
    let mut rig = Rig::new();
    rig.begin(&[b"a"]);
    let elements: Vec<String> = (0..5_000).map(|at| at.to_string()).collect();
    let borrowed: Vec<&[u8]> = elements.iter().map(String::as_bytes).collect();
    rig.append(LOG, &vec![0; 5_000], &borrowed);
    assert_eq!(texts(rig.elements(LOG, 0, 100).unwrap()), elements);
    let mut page = BytesColumn::default();
    assert!(!rig.call.elements((LOG, 0), 4_998, u32::MAX, &mut page).unwrap());
    assert_eq!(page.len(), 2);
    assert!(!rig.call.elements((LOG, 0), 5_000, u32::MAX, &mut page).unwrap());
    assert_eq!(page.len(), 2, "past the end is an empty page");
}

#[test]
fn an_element_that_is_too_large_refuses_its_record() {
    let mut rig = Rig::new();
    rig.begin(&[b"a", b"b"]);
    let large = vec![0; 600 << 10];
    let elements: BytesColumn = [Some(large.as_slice())].into_iter().collect();
    let refused = rig.call.append_elements(LOG, &[1], super::lend(&elements));
    assert!(matches!(refused, Err(Fault::Refuse { row: 1, .. })), "{refused:?}");
}
