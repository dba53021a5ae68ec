//! Simulation of Odin WS. Holds what the tests of the server need.
