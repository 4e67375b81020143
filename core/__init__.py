"""The domain of CarSales: buyers, cars, orders and sales, tied together by signals."""
