"""The controller: intent in by gRPC, kept in etcd, out as flows and host plans. Never imports the agent."""
