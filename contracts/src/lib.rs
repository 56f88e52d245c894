//! farebox-contracts
