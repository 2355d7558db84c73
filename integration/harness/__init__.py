"""The parts that the integration tests are made of: real servers, the daemons, faults and the oracle."""
