//! Modules in a pipeline's own topic.

use crate::setup::{kafka, properties};
use millstream_kafka::{KafkaCluster, KafkaModules, modules_topic};
use millstream_model::ids::Digest;

#[test]
fn a_module_comes_back_whole_whatever_else_lies_in_the_topic() {
    let properties = properties(kafka().bootstrap());
    let cluster = KafkaCluster::connect(&properties).unwrap();
    let topic = kafka().topic("modules", 1).unwrap();
    let id = format!("{topic}-pipeline");
    let modules = KafkaModules::new(&properties, &id);
    let (one, other, absent) = (Digest([1; 32]), Digest([2; 32]), Digest([3; 32]));
    assert!(modules.is_empty(&cluster).unwrap());
    assert_eq!(modules.get(&cluster, one).unwrap(), None);
    let large: Vec<u8> = (0..2_500_000_u32).map(|number| (number % 251) as u8).collect();
    modules.put(&cluster, one, &large).unwrap();
    modules.put(&cluster, other, b"small").unwrap();
    modules.put(&cluster, one, &large).unwrap();
    assert!(!modules.is_empty(&cluster).unwrap());
    assert_eq!(modules.get(&cluster, one).unwrap(), Some(large));
    assert_eq!(modules.get(&cluster, other).unwrap().as_deref(), Some(b"small".as_slice()));
    assert_eq!(modules.get(&cluster, absent).unwrap(), None);
    let settings = kafka().client().unwrap().describe_topic(&modules_topic(&id)).unwrap().configs;
    assert_eq!(settings.get("cleanup.policy").cloned().flatten().as_deref(), Some("compact"));
}
