//! farebox-settlement-plan
