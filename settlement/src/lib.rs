//! farebox-settlement
