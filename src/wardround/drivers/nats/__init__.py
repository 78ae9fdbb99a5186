"""The round over NATS JetStream: a coordinator, gateway agents, and a broker that carries what they say."""
