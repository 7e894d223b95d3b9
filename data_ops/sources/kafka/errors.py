"""What does an error of Kafka's client mean for a reader: will it pass, is it final, are messages gone or damaged?"""

import confluent_kafka as ck

REFUSED = {
    ck.KafkaError._AUTHENTICATION: "the login is refused; check security.mechanism, username and password",
    ck.KafkaError.SASL_AUTHENTICATION_FAILED: "the login is refused; check security.mechanism, username and password",
    ck.KafkaError._SSL: "the encrypted connection fails; check security.protocol and security.ca",
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED: "the topic may not be read; give the user the right to",
    ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the cluster may not be asked; give the user the right to",
    ck.KafkaError._INVALID_ARG: "a setting is not understood",
}
TRIMMED = (ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE)
GONE = (ck.KafkaError.UNKNOWN_TOPIC_OR_PART, ck.KafkaError._UNKNOWN_TOPIC, ck.KafkaError._UNKNOWN_PARTITION)
DAMAGED = (ck.KafkaError._BAD_MSG, ck.KafkaError._BAD_COMPRESSION, ck.KafkaError.INVALID_MSG)
PASSING = (
    ck.KafkaError._ALL_BROKERS_DOWN,
    ck.KafkaError._RESOLVE,
    ck.KafkaError._TIMED_OUT,
    ck.KafkaError._TRANSPORT,
    ck.KafkaError.BROKER_NOT_AVAILABLE,
    ck.KafkaError.FENCED_LEADER_EPOCH,
    ck.KafkaError.GROUP_AUTHORIZATION_FAILED,  # the library looks for the group, which we do not use
    ck.KafkaError.KAFKA_STORAGE_ERROR,
    ck.KafkaError.LEADER_NOT_AVAILABLE,
    ck.KafkaError.NETWORK_EXCEPTION,
    ck.KafkaError.NOT_LEADER_FOR_PARTITION,
    ck.KafkaError.OFFSET_NOT_AVAILABLE,
    ck.KafkaError.REPLICA_NOT_AVAILABLE,
    ck.KafkaError.REQUEST_TIMED_OUT,
    ck.KafkaError.UNKNOWN_LEADER_EPOCH,
)
